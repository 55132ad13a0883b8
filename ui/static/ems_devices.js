// Every device: a tree on the left, the channels of one on the right, or of all that a search finds. Only what is on show is followed.
import { act, age, clock, readHistory, state } from "ems-store";

const MOST_FOUND = 150;
const SPARK_MS = 15 * 60e3;
const SPARK_POINTS = 60;
const PER_READ = 60;
const SHAPES = { "": "#q-good", uncertain: "#q-uncertain", bad: "#q-bad", good: "#q-good", warn: "#q-uncertain", calm: "#q-calm" };
const SECTIONS = [["site", "Site"], ["device", "Devices"], ["object", "More"], ["cycle", "Control"], ["entry", "Configured, not running"]];
const MARKS = { site: "#i-home", cycle: "#i-clock", entry: "#i-plug", load: "#i-home" };
const TIMES = [[60, "1 min"], [300, "5 min"], [900, "15 min"], [3600, "1 h"]];
const NOTHING = ["–", "", "bad", "no data yet", 0, null];

const limit = (v) => (v === null || v === undefined ? "any" : String(Math.round(v * 1000) / 1000).replace("-", "−"));

export default {
  template: `
  <svg width="0" height="0" style="position: absolute" aria-hidden="true">
    <symbol id="q-good" viewBox="0 0 12 12"><circle cx="6" cy="6" r="3.6" /></symbol>
    <symbol id="q-uncertain" viewBox="0 0 12 12"><path d="M6 1.2 11.3 10.600H.7z" /></symbol>
    <symbol id="q-bad" viewBox="0 0 12 12"><path d="M2 2l8 8M10 2l-8 8" fill="none" stroke="currentColor" stroke-width="2.6" stroke-linecap="round" /></symbol>
    <symbol id="q-calm" viewBox="0 0 12 12"><circle cx="6" cy="6" r="3" fill="none" stroke="currentColor" stroke-width="2" /></symbol>
  </svg>
  <div :class="['devices', chosen || wanted ? 'opened' : '']">
    <aside class="tree card" aria-label="Devices">
      <label class="search"><span class="sr">Find a channel</span><input type="search" v-model.trim="wanted" placeholder="Find a device or channel" /></label>
      <nav aria-label="Devices" @keydown="walk">
        <template v-for="[kind, title] in sections" :key="kind">
          <h3>{{ title }}</h3>
          <button v-for="t in of(kind)" :key="t.alias" type="button" :class="['node', t.carrier]" :aria-current="t.alias === chosen && !wanted ? 'true' : null" @click="choose(t.alias)">
            <svg class="icon"><use :href="mark(t)" /></svg>
            <span class="name"><b>{{ t.label }}</b><i>{{ t.type }}</i></span>
            <span class="head" v-if="how(t).text"><b>{{ how(t).text }}</b><i>{{ how(t).unit }}</i></span>
            <span v-if="how(t).tone !== 'good'" :class="['state', how(t).tone]"><svg><use :href="shapes[how(t).tone]" /></svg>{{ how(t).word }}</span>
          </button>
        </template>
      </nav>
    </aside>
    <div class="shown">
      <button type="button" class="back" @click="leave"><svg class="icon"><use href="#i-chevron" /></svg>All devices</button>
      <p v-if="wanted && !shown.length" class="card empty">Nothing is called “{{ wanted }}”. Names, kinds and descriptions are searched.</p>
      <p v-else-if="wanted" class="found" role="status">{{ count }} {{ count === 1 ? 'channel' : 'channels' }}{{ count > most ? ', the first ' + most + ' are shown' : '' }}</p>
      <section v-for="t in shown" :key="t.alias" class="card thing" :aria-label="t.label">
        <header>
          <span :class="['badge', t.carrier]"><svg class="icon"><use :href="mark(t)" /></svg></span>
          <div class="who"><h2>{{ t.label }}</h2><p><code>{{ t.alias }}</code> {{ t.type }}</p></div>
          <span :class="['state', how(t).tone]"><svg><use :href="shapes[how(t).tone]" /></svg>{{ how(t).word }}</span>
        </header>
        <p v-if="how(t).reason" class="reason-why" role="status"><b>Why:</b> {{ how(t).reason }}<template v-if="how(t).retry > clock.now"> Next try in {{ age(how(t).retry - clock.now) }}.</template></p>
        <div v-if="!wanted && how(t).machine" class="machine" role="group" :aria-label="'Start and stop ' + t.label">
          <p><b :class="['state', how(t).machine.tone]"><svg><use :href="shapes[how(t).machine.tone]" /></svg>{{ how(t).machine.word }}</b><span>{{ how(t).machine.why }}</span></p>
          <button v-for="(m, i) in how(t).machine.deeds" :key="m" type="button" :class="{ primary: i === 0 && m !== 'Stop' }" :title="denied" :disabled="!!denied || !!operating || state.link.away" @click="operate(t, m)">{{ m }}</button>
        </div>
        <p v-if="how(t).exposed" class="reason-why">This device would stay on its last set-point if the system were gone: it has no watchdog of its own.</p>
        <dl v-if="!wanted && (t.identity.length || how(t).heard)" class="identity">
          <div v-for="[name, text] in t.identity" :key="name"><dt>{{ name }}</dt><dd>{{ text }}</dd></div>
          <div v-if="how(t).heard"><dt>Last heard</dt><dd>{{ ago(how(t).heard) }}</dd></div>
        </dl>
        <p v-if="!t.groups.length" class="empty">It has no channels while it does not run.</p>
        <table v-for="g in t.groups" :key="g.title">
          <caption>{{ g.title }}</caption>
          <colgroup><col class="c-name" /><col class="c-spark" /><col class="c-value" /><col /><col class="c-age" /><col class="c-acts" /></colgroup>
          <tbody>
            <tr v-for="c in g.channels" :key="c.node" :class="value(c)[2]">
              <th scope="row" :title="c.doc + ' · ' + c.node">{{ c.name }}</th>
              <td class="spark"><svg v-if="lines[c.node]" viewBox="0 0 96 24" preserveAspectRatio="none" aria-hidden="true"><polyline :points="lines[c.node]" /></svg></td>
              <td class="value">{{ value(c)[0] }}<i v-if="c.number">{{ value(c)[1] }}</i></td>
              <td class="quality"><svg aria-hidden="true"><use :href="shapes[value(c)[2]]" /></svg>{{ value(c)[3] }}</td>
              <td class="age" :title="value(c)[4] ? 'Changed at ' + new Date(value(c)[4] * 1000).toLocaleString() : ''">{{ ago(value(c)[4]) }}</td>
              <td class="acts">
                <button v-if="c.writable" type="button" class="round" :aria-label="'Set ' + t.label + ' ' + c.name" :title="'Set ' + c.name" @click="edit(t, g, c)"><svg class="icon"><use href="#i-pencil" /></svg></button>
                <a v-if="c.history" class="round" :href="'/trends?c=' + c.node" :aria-label="'Trend of ' + t.label + ' ' + c.name" :title="'Trend of ' + c.name"><svg class="icon"><use href="#i-trends" /></svg></a>
              </td>
            </tr>
          </tbody>
        </table>
      </section>
    </div>
    <dialog ref="editor" class="editor" aria-labelledby="edit-title">
      <form v-if="editing" @submit.prevent="send">
        <h2 id="edit-title">{{ editing.thing.label }}: {{ editing.channel.name.toLowerCase() }}</h2>
        <p>{{ editing.channel.doc }}</p>
        <label class="now">Now <b>{{ value(editing.channel)[0] }} {{ value(editing.channel)[1] }}</b></label>
        <select v-if="choices.length" v-model.number="draft" aria-label="New value"><option v-for="(name, i) in choices" :key="i" :value="i">{{ name }}</option></select>
        <template v-else>
          <span class="number"><input type="number" step="any" v-model.number="draft" aria-label="New value" ref="field" /><i>{{ editing.channel.unit }}</i></span>
          <small :class="wrong ? 'wrong' : ''">{{ wrong || 'Allowed now: ' + limit(limits[0]) + ' to ' + limit(limits[1]) + ' ' + editing.channel.unit }}</small>
        </template>
        <div v-if="needsHand" class="take">
          <p>The controllers write this set-point. Taking control by hand holds them back for as long as you say; then they go on.</p>
          <div class="chips" role="radiogroup" aria-label="For how long"><button v-for="t in times" :key="t[0]" type="button" role="radio" :aria-checked="t[0] === seconds" @click="seconds = t[0]">{{ t[1] }}</button></div>
        </div>
        <p v-if="refused" class="refused" role="alert">{{ refused }}</p>
        <div class="buttons">
          <button type="button" @click="$refs.editor.close()">Cancel</button>
          <button class="primary" :disabled="!!wrong || busy || state.link.away">{{ needsHand ? 'Take control and set' : 'Set' }}</button>
        </div>
      </form>
    </dialog>
  </div>`,
  props: { things: Array, denied: String },
  data() {
    return {
      clock, state, shapes: SHAPES, times: TIMES, most: MOST_FOUND, chosen: "", wanted: "", lines: {}, editing: null, draft: 0, seconds: 300, busy: false, refused: "", operating: "",
    };
  },
  computed: {
    sections() {
      return SECTIONS.filter(([kind]) => this.of(kind).length);
    },
    words() {
      return this.wanted.toLowerCase().split(/\s+/).filter(Boolean);
    },
    hits() {
      if (!this.words.length) return [];
      return this.things
        .map((t) => ({ ...t, groups: t.groups.map((g) => ({ ...g, channels: g.channels.filter((c) => this.fits(t, c)) })).filter((g) => g.channels.length) }))
        .filter((t) => t.groups.length || this.says(`${t.label} ${t.alias} ${t.type}`));
    },
    count() {
      return this.hits.reduce((sum, t) => sum + t.groups.reduce((n, g) => n + g.channels.length, 0), 0);
    },
    shown() {
      if (!this.words.length) return this.things.filter((t) => t.alias === this.chosen);
      let room = MOST_FOUND;
      return this.hits
        .map((t) => ({ ...t, groups: t.groups.map((g) => ({ ...g, channels: g.channels.slice(0, Math.max(0, (room -= g.channels.length) + g.channels.length)) })).filter((g) => g.channels.length) }))
        .filter((t) => t.groups.length || room > 0);
    },
    channels() {
      return this.shown.flatMap((t) => t.groups.flatMap((g) => g.channels));
    },
    choices() {
      const { states, switch: onOff } = this.editing.channel;
      return states.length ? states : onOff ? ["no", "yes"] : [];
    },
    limits() {
      const { node, low, high } = this.editing.channel;
      return state["limits." + node] ?? [low, high];
    },
    wrong() {
      if (this.choices.length) return "";
      if (typeof this.draft !== "number" || !Number.isFinite(this.draft)) return "A number is expected.";
      const [low, high] = this.limits;
      const outside = (low !== null && this.draft < low) || (high !== null && this.draft > high);
      return outside ? `Only ${limit(low)} to ${limit(high)} ${this.editing.channel.unit} is allowed now.` : "";
    },
    present() {
      return this.editing && this.value(this.editing.channel)[5];
    },
    needsHand() {
      return this.editing.setpoint && !(state.hand.left > 0);
    },
  },
  watch: {
    channels(now, before) {
      const nodes = now.map((c) => c.node);
      if (nodes.join() !== before?.map((c) => c.node).join()) this.follow(nodes);
    },
    present: "propose",
    chosen: "keepAddress",
    wanted: "keepAddress",
  },
  mounted() {
    const query = new URLSearchParams(window.location.search);
    this.wanted = query.get("q") ?? "";
    const asked = query.get("thing");
    const wide = window.matchMedia("(min-width: 1081px)").matches;
    const first = this.things.find((t) => t.kind === "device") ?? this.things[0];
    this.chosen = this.things.some((t) => t.alias === asked) ? asked : wide ? first?.alias ?? "" : "";
    this.timer = setInterval(this.grow, 2000);
  },
  unmounted() {
    clearInterval(this.timer);
  },
  methods: {
    age,
    limit,
    ago(time) {
      if (!time) return "";
      const seconds = clock.now - time;
      return seconds < 3 ? "now" : age(seconds);
    },
    of(kind) {
      return this.things.filter((t) => t.kind === kind);
    },
    mark: (t) => MARKS[t.kind] ?? MARKS[t.carrier] ?? (t.carrier ? "#i-" + t.carrier : "#i-devices"),
    says(text) {
      return this.words.every((word) => text.toLowerCase().includes(word));
    },
    fits(t, c) {
      return this.says(`${t.label} ${t.alias} ${t.type} ${c.node} ${c.name} ${c.doc}`);
    },
    how: (t) => state["d." + t.alias] ?? { tone: "calm", word: "", text: "", unit: "", reason: "", retry: 0 },
    value: (c) => state["v." + c.node] ?? NOTHING,
    // ---- choosing -------------------------------------------------------------------------------------------------
    choose(alias) {
      this.chosen = alias;
      this.wanted = "";
      if (!window.matchMedia("(min-width: 1081px)").matches) window.scrollTo(0, 0);
    },
    leave() {
      this.chosen = this.wanted = "";
    },
    walk(event) {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!by) return;
      const nodes = [...event.currentTarget.querySelectorAll("button.node")];
      event.preventDefault();
      nodes[(nodes.indexOf(document.activeElement) + by + nodes.length) % nodes.length].focus();
    },
    keepAddress() {
      const query = new URLSearchParams();
      if (this.wanted) query.set("q", this.wanted);
      else if (this.chosen) query.set("thing", this.chosen);
      window.history.replaceState(null, "", query.size ? "?" + query : window.location.pathname);
    },
    follow(nodes) {
      this.$emit("watch", nodes);
      clearTimeout(this.soon);
      this.soon = setTimeout(() => this.readSparks(this.channels.filter((c) => c.history && c.number && !c.states.length && !c.switch).map((c) => c.node)), 150);
    },
    // ---- the last minutes of each channel ---------------------------------------------------------------------------
    async readSparks(nodes) {
      this.reading?.abort();
      const { signal } = (this.reading = new AbortController());
      this.sparks = new Map();
      for (let i = 0; i < nodes.length; i += PER_READ) {
        const now = Date.now();
        const part = nodes.slice(i, i + PER_READ);
        const found = await readHistory(part, now - SPARK_MS, now, SPARK_POINTS, "average", signal).catch(() => null);
        if (!found || signal.aborted) return;
        for (const [node, { t, v }] of Object.entries(found.series)) this.sparks.set(node, t.map((time, k) => [time, v[k]]));
        this.drawSparks();
      }
    },
    grow() {
      if (document.hidden || !this.sparks?.size) return;
      for (const [node, points] of this.sparks) {
        points.push([Date.now(), state.link.away ? null : state["v." + node]?.[5] ?? null]);
        while (points[1]?.[0] < Date.now() - SPARK_MS) points.shift();
      }
      this.drawSparks();
    },
    drawSparks() {
      const lines = {};
      for (const [node, points] of this.sparks) lines[node] = this.line(points);
      this.lines = lines;
    },
    line(points) {
      const known = points.filter(([, v]) => v !== null);
      if (known.length < 2) return "";
      const values = known.map(([, v]) => v);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const start = Date.now() - SPARK_MS;
      const y = (v) => (high - low < 1e-9 * Math.max(1, Math.abs(high)) ? 12 : 22 - (20 * (v - low)) / (high - low));
      return known.map(([t, v]) => `${((96 * (t - start)) / SPARK_MS).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
    },
    // ---- starting and stopping -----------------------------------------------------------------------------------
    async operate(thing, method) {
      this.operating = method;
      await act(this, "operate", { alias: thing.alias, method });
      this.operating = "";
    },
    // ---- writing --------------------------------------------------------------------------------------------------
    edit(thing, group, channel) {
      this.editing = { thing, channel, setpoint: thing.kind === "device" && group.title === "Set-points" };
      this.draft = "";
      this.propose();
      this.refused = "";
      this.$nextTick(() => {
        this.$refs.editor.showModal();
        this.$refs.field?.select();
      });
    },
    // Begins with what is now, as soon as it is known.
    propose() {
      const now = this.editing ? this.value(this.editing.channel)[5] : null;
      if (this.draft === "" && now !== null) this.draft = Math.round(now * 100) / 100;
    },
    async send() {
      this.busy = true;
      const done = await act(this, "write", { node: this.editing.channel.node, value: this.draft, take: this.needsHand ? this.seconds : 0 });
      this.busy = false;
      if (done) this.$refs.editor.close();
      else this.refused = state.toast?.text ?? "It was refused.";
    },
  },
};
