// All objects with their channels: value, unit, quality and age.
import { state } from "ems-store";

export default {
  template: `
  <div class="devices">
    <label class="search"><span class="sr">Find a channel</span><input type="search" v-model.trim="wanted" placeholder="Find a device or channel" /></label>
    <p v-if="!found.length" class="empty">Nothing is called “{{ wanted }}”.</p>
    <details v-for="t in found" :key="t.alias" class="card thing" :open="wanted !== '' || t.open" @toggle="t.open = $event.target.open">
      <summary><b>{{ t.label }}</b><code>{{ t.alias }}</code><i>{{ t.type }}</i><span class="count">{{ t.channels.length }}</span></summary>
      <table>
        <thead><tr><th>Channel</th><th class="value">Value</th><th class="unit">Unit</th><th class="quality">Quality</th><th class="age">Age</th></tr></thead>
        <tbody>
          <tr v-for="c in t.channels" :key="c.node" :class="value(c)[2]">
            <td :title="c.doc">{{ c.name }}<span v-if="c.writable" class="tag">set</span></td>
            <td class="value">{{ value(c)[0] }}</td><td class="unit">{{ value(c)[1] }}</td>
            <td class="quality"><span class="lamp"></span>{{ value(c)[3] || 'good' }}</td><td class="age">{{ age(value(c)[4]) }}</td>
          </tr>
        </tbody>
      </table>
    </details>
  </div>`,
  props: { things: Array },
  data() {
    return { wanted: "", now: Date.now() / 1000, list: this.things.map((t) => ({ ...t, open: t.kind === "device" })) };
  },
  computed: {
    found() {
      const wanted = this.wanted.toLowerCase();
      if (!wanted) return this.list;
      const matches = (text) => text.toLowerCase().includes(wanted);
      return this.list
        .map((t) => (matches(t.label) || matches(t.alias) ? t : { ...t, channels: t.channels.filter((c) => matches(c.node)) }))
        .filter((t) => t.channels.length);
    },
  },
  mounted() {
    this.timer = setInterval(() => (this.now = Date.now() / 1000), 1000);
  },
  unmounted() {
    clearInterval(this.timer);
  },
  methods: {
    value(channel) {
      return state["v." + channel.node] ?? ["–", "", "bad", "no data yet", 0];
    },
    age(time) {
      if (!time) return "";
      const seconds = Math.max(0, this.now - time);
      if (seconds < 3) return "now";
      if (seconds < 60) return Math.floor(seconds) + " s";
      return seconds < 3600 ? Math.floor(seconds / 60) + " min" : Math.floor(seconds / 3600) + " h";
    },
  },
};
