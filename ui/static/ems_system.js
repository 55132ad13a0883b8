// Processes, entries, certificates, the control cycle, the machine, and what was recorded.
import { act, age, clock, state } from "ems-store";

const time = (seconds) => {
  const at = new Date(seconds * 1000);
  const day = at.toDateString() === new Date().toDateString() ? "" : at.toLocaleDateString([], { month: "short", day: "numeric" }) + " ";
  return day + at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
};

const Bars = {
  template: `
  <figure class="bars">
    <figcaption><b>{{ title }}</b><span v-if="h.count">half under <b>{{ h.p50 }}</b> · 99 % under <b>{{ h.p99 }}</b> · most <b>{{ h.most }}</b></span></figcaption>
    <svg viewBox="0 0 480 104" preserveAspectRatio="none" role="img" :aria-label="spoken">
      <line class="deadline" v-if="deadline" :x1="deadline * 480" :x2="deadline * 480" y1="0" y2="104" />
      <rect v-for="(v, i) in h.bars" :key="i" :x="i * 10 + 1" :width="8" :y="102 - v * 96" :height="v ? Math.max(2, v * 96) : 0" rx="2" />
      <line class="ground" x1="0" x2="480" y1="103" y2="103" />
    </svg>
    <div class="marks" aria-hidden="true"><span v-for="m in marks" :key="m[0]" :class="m[0] === 'deadline' ? 'deadline' : ''" :style="{left: m[1] * 100 + '%'}">{{ m[0] }}</span></div>
    <p v-if="!h.count" class="empty">{{ live ? 'Listening to the cycle…' : 'Not known while the OPC UA server is away.' }}</p>
  </figure>`,
  props: { title: String, h: Object, marks: Array, live: Boolean },
  computed: {
    deadline() {
      return this.marks.find((m) => m[0] === "deadline")?.[1];
    },
    spoken() {
      return this.h.count ? `${this.title}: half of ${this.h.count} cycles under ${this.h.p50}, 99 % under ${this.h.p99}` : this.title;
    },
  },
};

const Book = {
  template: `
  <section class="card book" :aria-label="title">
    <header><h2>{{ title }}</h2>
      <label class="search"><span class="sr">Find in {{ title }}</span><input type="search" v-model="text" :placeholder="'Find in ' + title.toLowerCase()" @input="later" /></label>
      <slot></slot>
    </header>
    <p v-if="!b.known" class="empty">The supervisor does not answer.</p>
    <p v-else-if="!b.rows.length" class="empty">{{ text ? 'Nothing has “' + text + '” in it.' : 'Nothing was recorded yet.' }}</p>
    <div v-else class="lines" tabindex="0" role="log" :aria-label="title" aria-live="off">
      <details v-for="(r, i) in b.rows" :key="r.time + r.kind + r.text + i" :class="r.tone">
        <summary><time>{{ time(r.time) }}</time><span class="kind">{{ r.kind }}</span><span class="who" v-if="r.who">{{ r.who }}</span><span class="text">{{ r.text }}</span></summary>
        <code v-if="r.more">{{ r.more }}</code>
      </details>
      <div class="deed" v-if="b.more || !b.follows">
        <button type="button" v-if="b.more" :disabled="busy" @click="ask('older')">Older</button>
        <button type="button" v-if="!b.follows" :disabled="busy" @click="ask('newest')">Back to the newest</button>
      </div>
    </div>
  </section>`,
  props: { name: String, title: String },
  emits: ["ask"],
  data: () => ({ text: "", busy: false }),
  computed: {
    b() {
      return state["book." + this.name];
    },
  },
  methods: {
    time,
    later() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.ask("find"), 250);
    },
    ask(event) {
      this.busy = true;
      this.$emit("ask", event, { book: this.name, text: this.text }, () => (this.busy = false));
    },
  },
};

export default {
  components: { Bars, Book },
  template: `
  <div class="system">
    <section class="card health" aria-label="Site">
      <template v-if="state.site">
        <span :class="['pill', state.site.tone]"><span class="lamp"></span>{{ state.site.state }}</span>
        <div><b>{{ state.site.name }}</b><code>{{ state.site.directory }}</code></div>
        <dl>
          <div><dt>Cycle</dt><dd>{{ c.period }}</dd></div><div><dt>Worst work</dt><dd>{{ c.worst }}</dd></div>
          <div><dt>Slips</dt><dd>{{ c.slips }}</dd></div><div><dt>Control restarts</dt><dd>{{ c.restarts }}</dd></div>
        </dl>
      </template>
      <p v-else class="empty"><b>The supervisor does not answer.</b> What is below may be old.</p>
    </section>
    <section class="card cycles" aria-label="Control cycle">
      <h2>Control cycle, last minute</h2>
      <div><Bars title="Work" :h="c.work" :marks="marks" :live="c.live" /><Bars title="Lateness of the start" :h="c.late" :marks="marks" :live="c.live" /></div>
    </section>
    <section class="card" aria-label="Processes">
      <h2>Processes<span>{{ total }} MB in all</span></h2>
      <div class="wide-table"><table class="roster">
        <thead><tr><th>Process</th><th>State</th><th class="right minor">PID</th><th class="right">Memory</th><th class="right minor">Restarts</th><th class="right">Since</th></tr></thead>
        <tbody><template v-for="p in state.processes" :key="p.name">
          <tr :class="p.tone"><td><b>{{ p.name }}</b></td><td class="doing"><span class="lamp"></span>{{ p.state }}</td><td class="right minor">{{ p.pid }}</td>
            <td class="right">{{ p.memory == null ? '–' : p.memory + ' MB' }}</td><td class="right minor">{{ p.restarts }}</td><td class="right" :title="p.since ? time(p.since) : ''">{{ p.since ? age(clock.now - p.since) : '–' }}</td></tr>
          <tr v-if="p.reason" class="why"><td colspan="6">{{ p.reason }}</td></tr>
        </template></tbody>
      </table></div>
    </section>
    <section class="card" aria-label="Integrations">
      <h2>Integrations<span>{{ state.entries.length }}</span></h2>
      <p v-if="!state.entries.length" class="empty">None. Each file in <code>entries/</code> is one.</p>
      <div v-else class="wide-table"><table class="roster">
        <thead><tr><th>Entry</th><th>Driver</th><th>State</th><th class="right">Next try</th></tr></thead>
        <tbody><template v-for="e in state.entries" :key="e.alias">
          <tr :class="e.tone"><td><b>{{ e.alias }}</b></td><td>{{ e.driver }}</td><td class="doing"><span class="lamp"></span>{{ e.state }}</td><td class="right">{{ e.retry ? 'in ' + age(e.retry - clock.now) : '' }}</td></tr>
          <tr v-if="e.reason" class="why"><td colspan="4">{{ e.reason }}</td></tr>
        </template></tbody>
      </table></div>
    </section>
    <section class="card" aria-label="Certificates">
      <h2>Certificates of this site</h2>
      <ul class="expiries">
        <li v-for="c in state.certificates" :key="c.name" :class="c.tone"><b>{{ c.name }}</b>
          <span class="bar"><span :style="{width: Math.max(0, Math.min(100, c.days / 8.25)) + '%'}"></span></span>
          <span class="left">{{ c.days < 0 ? 'expired' : c.days + ' days left' }}</span><i>{{ c.until }}</i></li>
      </ul>
      <p class="foot" v-if="state.certificates.some((c) => c.tone !== 'good')">Renew on the site’s machine: <code>ems certs renew</code></p>
    </section>
    <section class="card" aria-label="Machine">
      <h2>Machine</h2>
      <template v-if="state.machine">
        <div v-for="m in state.machine.meters" :key="m.name" :class="['meter', m.tone]"><b>{{ m.name }}</b><span class="bar"><span :style="{width: m.used + '%'}"></span></span><i>{{ m.text }}</i></div>
        <dl class="pairs"><div v-for="f in state.machine.facts" :key="f[0]"><dt>{{ f[0] }}</dt><dd>{{ f[1] }}</dd></div>
          <div v-for="f in state.machine.stored" :key="f[0]"><dt>{{ f[0] }} on disk</dt><dd>{{ f[1] }}</dd></div></dl>
      </template>
      <p v-else class="empty">The supervisor does not answer.</p>
    </section>
    <Book v-if="books.includes('journal')" name="journal" title="Journal" @ask="ask" />
    <Book v-if="books.includes('audit')" name="audit" title="Audit trail" @ask="ask"><button type="button" class="small" :disabled="verifying" @click="verify" title="Check that no row was changed, taken out or cut off"><svg class="icon"><use href="#i-shield" /></svg>{{ verifying ? 'Verifying…' : 'Verify' }}</button></Book>
    <p v-if="!books.length" class="card empty wide">The journal is shown to engineers, the audit trail to administrators. Your role allows neither.</p>
  </div>`,
  props: { books: Array, marks: Array },
  data: () => ({ state, clock, verifying: false }),
  computed: {
    c: () => state.cycle,
    total: () => state.processes.reduce((sum, p) => sum + (p.memory ?? 0), 0),
  },
  methods: {
    age,
    time,
    async verify() {
      this.verifying = true;
      await act(this, "verify");
      this.verifying = false;
    },
    async ask(event, detail, done) {
      await act(this, event, detail);
      done();
    },
  },
};
