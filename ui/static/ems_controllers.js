// Who has a say, in order of priority, with the detail of one: what it wants and why, its switch, its parameters.
import { act, shortcuts, state } from "ems-store";

const number = (value) => (value == null ? "–" : value.toLocaleString("en", { maximumFractionDigits: 6 }).replace("-", "−"));

const Wants = {
  template: `
  <ul class="wants">
    <li v-for="(w, i) in wants" :key="i">
      <b>{{ w.why }}</b>
      <template v-if="w.asked"><span class="asked">{{ w.asked }}</span>
        <span v-if="w.got" class="got">gets {{ lower(w.got) }}</span><span v-if="w.by" class="by">{{ w.by }}</span>
        <span v-else class="whole">gets all of it</span></template>
    </li>
  </ul>`,
  props: { wants: Array },
  methods: { lower: (text) => text.slice(0, 1).toLowerCase() + text.slice(1) },
};

const Field = {
  template: `
  <div :class="['field', wrong ? 'wrong' : '', edited ? 'edited' : '']">
    <label :for="id">{{ p.label }}<code>{{ p.name }}</code></label>
    <div class="entry">
      <label v-if="p.switch" class="toggle"><input type="checkbox" :id="id" :checked="!!value" :disabled="locked" @change="$emit('edit', $event.target.checked ? 1 : 0)" /><span></span></label>
      <select v-else-if="p.states.length" :id="id" :value="value" :disabled="locked" @change="$emit('edit', Number($event.target.value))">
        <option v-for="(name, i) in p.states" :key="i" :value="i">{{ name }}</option>
      </select>
      <span v-else class="number"><input type="number" :id="id" :value="value" :min="p.low" :max="p.high" :step="p.whole ? 1 : 'any'" :disabled="locked"
        :aria-invalid="!!wrong" :aria-describedby="id + '-doc'" @input="$emit('edit', $event.target.value === '' ? null : Number($event.target.value))" /><i>{{ p.unit }}</i></span>
    </div>
    <p :id="id + '-doc'" class="doc">{{ p.doc }} <span v-if="p.span">{{ p.span }}.</span></p>
    <p v-if="wrong" class="problem">{{ wrong }}</p>
    <p v-else-if="edited" class="note">Now {{ shown(now) }}. <button type="button" class="link" @click="$emit('edit', undefined)">Undo</button></p>
    <p v-else-if="p.configured != null && now != null && now !== p.configured" class="note">
      <span class="tag">changed</span> site.toml says {{ shown(p.configured) }}. <button v-if="!locked" type="button" class="link" @click="$emit('edit', p.configured)">Use that</button></p>
  </div>`,
  props: { p: Object, now: Number, draft: null, locked: Boolean },
  emits: ["edit"],
  data() {
    return { id: "p" + this.$.uid };
  },
  computed: {
    edited() {
      return this.draft !== undefined && this.draft !== this.now;
    },
    value() {
      return this.draft !== undefined ? this.draft : this.now;
    },
    wrong() {
      return this.edited ? problem(this.p, this.draft) : "";
    },
  },
  methods: {
    shown(value) {
      return shown(this.p, value);
    },
  },
};

function shown(p, value) {
  if (value == null) return "–";
  if (p.switch) return value ? "on" : "off";
  return p.states[value] ?? (number(value) + " " + p.unit).trim();
}

function problem(p, value) {
  if (value == null || Number.isNaN(value)) return "A number is expected.";
  if ((p.low != null && value < p.low) || (p.high != null && value > p.high)) return "Not in the range, " + p.span + ".";
  return p.whole && !Number.isInteger(value) ? "A whole number is expected." : "";
}

export default {
  components: { Wants, Field },
  template: `
  <aside v-if="state.refused?.length" class="card refusals" role="status" aria-label="Not loaded">
    <h3>Not loaded</h3>
    <p v-for="r in state.refused" :key="r.what"><b>{{ r.what }}</b> {{ r.why }}</p>
    <p class="foot">What runs is what was accepted before. Mend it and run <code>ems reload</code>.</p>
  </aside>
  <p v-if="!things.length" class="card empty">This site has no controllers. They are <code>[[controller]]</code> tables in site.toml.</p>
  <div v-else class="desk">
    <section class="card ranks" aria-label="Controllers in order of priority">
      <p class="decision">{{ state.decision }}</p>
      <ol>
        <li v-for="t in ranked" :key="t.alias" :class="[s(t).tone, t.alias === chosen ? 'chosen' : '']">
          <button type="button" class="rank" @click="choose(t.alias, true)" :aria-current="t.alias === chosen">
            <span class="place" :title="'Priority ' + t.priority + ': lower is asked first'">{{ t.priority ?? "–" }}</span>
            <span class="who"><b>{{ t.label }}</b><code>{{ t.alias }}</code><i v-if="s(t).schedule" class="tag" :title="s(t).schedule">schedule</i></span>
            <span :class="['pill', s(t).tone]"><span class="lamp"></span>{{ s(t).state }}</span>
            <span class="said">{{ s(t).said }}</span>
          </button>
          <label class="toggle" :title="may ? (s(t).on ? 'Switch off' : 'Switch on') : denied">
            <span class="sr">{{ t.label }} takes part</span><input type="checkbox" role="switch" :checked="s(t).on" :disabled="!may || busy || state.link.away" @click.prevent="flip(t)" /><span></span></label>
        </li>
      </ol>
      <p v-if="!may" class="foot">{{ denied }}</p>
    </section>
    <section v-if="thing" :class="['card', 'detail', open ? 'open' : '']" :aria-label="thing.label">
      <header>
        <button type="button" class="round to-list" aria-label="Back to the list" @click="open = false"><svg class="icon"><use href="#i-back" /></svg></button>
        <div><h3>{{ thing.label }}</h3><p>{{ thing.doc }}</p></div>
        <span :class="['pill', s(thing).tone]"><span class="lamp"></span>{{ s(thing).state }}</span>
      </header>
      <dl class="facts">
        <div><dt>Priority</dt><dd>{{ thing.priority ?? "–" }}</dd></div>
        <div><dt>Last run</dt><dd>{{ s(thing).took }}</dd></div>
        <div><dt>Errors</dt><dd :class="s(thing).failing ? 'bad' : ''">{{ s(thing).errors }}</dd></div>
        <div v-for="r in thing.refers" :key="r[0]"><dt>{{ r[0] }}</dt><dd>{{ r[1] }}</dd></div>
      </dl>
      <h4>What it wants, and why</h4>
      <Wants :wants="s(thing).wants" />
      <template v-if="s(thing).schedule"><h4>What a schedule sets</h4><p class="schedule">{{ s(thing).schedule }}</p></template>
      <form @submit.prevent="ask" autocomplete="off">
        <h4>Parameters</h4>
        <p v-if="!thing.params.length" class="empty">It has none.</p>
        <Field v-for="p in thing.params" :key="p.node" :p="p" :now="state['p.' + p.node]" :draft="drafts[p.node]" :locked="!may || busy || state.link.away" @edit="edit(p, $event)" />
        <div v-if="thing.params.length && may" class="deed">
          <button type="button" @click="drafts = {}" :disabled="!changes.length || busy">Discard</button>
          <button class="primary" :disabled="!changes.length || wrong || busy || state.link.away">{{ label }}</button>
        </div>
      </form>
    </section>
    <dialog ref="confirm" aria-labelledby="confirm-title">
      <h2 id="confirm-title">Change {{ thing.label }}?</h2>
      <table class="changes"><tbody><tr v-for="p in changes" :key="p.node"><td>{{ p.label }}</td><td>{{ shown(p, state['p.' + p.node]) }}</td><td>→</td><td><b>{{ shown(p, drafts[p.node]) }}</b></td></tr></tbody></table>
      <p>Takes effect in the next cycle, and stays after a restart.</p>
      <form method="dialog"><button value="no">Cancel</button><button value="yes" class="primary" autofocus @click="apply">Apply</button></form>
    </dialog>
    <dialog ref="off" aria-labelledby="off-title">
      <h2 id="off-title">Switch off {{ flipping?.label }}?</h2>
      <p>{{ flipping?.doc }}</p><p>From the next cycle on nothing does this, until somebody switches it on again.</p>
      <form method="dialog"><button value="no" autofocus>Leave it on</button><button value="yes" class="stop" @click="turn(flipping, false)">Switch off</button></form>
    </dialog>
  </div>`,
  props: { things: Array, may: Boolean },
  data() {
    return { state, chosen: decodeURIComponent(location.hash.slice(1)), open: false, drafts: {}, busy: false, flipping: null, denied: "Your role may look but not change. Log in as an engineer to set controllers." };
  },
  computed: {
    ranked() {
      return [...this.things].sort((a, b) => (a.priority ?? 1001) - (b.priority ?? 1001));
    },
    thing() {
      return this.things.find((t) => t.alias === this.chosen) ?? this.ranked[0];
    },
    changes() {
      return this.thing.params.filter((p) => this.drafts[p.node] !== undefined && this.drafts[p.node] !== state["p." + p.node]);
    },
    wrong() {
      return this.changes.some((p) => problem(p, this.drafts[p.node]));
    },
    label() {
      const count = this.changes.length;
      return count ? `Apply ${count} change${count > 1 ? "s" : ""}` : "Apply";
    },
  },
  created() {
    if (!this.things.some((t) => t.alias === this.chosen)) this.chosen = this.ranked[0]?.alias;
    else this.open = true;
  },
  mounted() {
    shortcuts.push(["↑ ↓", "Another controller"]);
    window.addEventListener("keydown", this.press);
  },
  unmounted() {
    window.removeEventListener("keydown", this.press);
  },
  methods: {
    shown,
    s: (thing) => state["c." + thing.alias],
    choose(alias, open) {
      if (alias !== this.chosen) this.drafts = {};
      this.chosen = alias;
      this.open = this.open || open;
      history.replaceState(history.state, "", "#" + encodeURIComponent(alias));
    },
    press(event) {
      if (event.target.closest("input, select, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Escape") this.open = false;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const next = step && this.ranked[this.ranked.indexOf(this.thing) + step];
      if (!next) return;
      event.preventDefault();
      this.choose(next.alias, false);
    },
    edit(p, value) {
      this.drafts = { ...this.drafts, [p.node]: value };
    },
    ask() {
      if (this.changes.length && !this.wrong) this.$refs.confirm.showModal();
    },
    async apply() {
      const values = Object.fromEntries(this.changes.map((p) => [p.node, this.drafts[p.node]]));
      if (await this.deed("apply", { alias: this.thing.alias, values })) this.drafts = {};
    },
    flip(thing) {
      this.flipping = thing;
      if (this.s(thing).on) this.$refs.off.showModal();
      else this.turn(thing, true);
    },
    turn(thing, on) {
      return this.deed("switch", { alias: thing.alias, on });
    },
    async deed(name, detail) {
      this.busy = true;
      const done = await act(this, name, detail);
      this.busy = false;
      return done;
    },
  },
};
