// Manual override: choose a unit, a power and a time; take control, watch the plant follow, give it back.
import { act, state } from "ems-store";

const TIMES = [[60, "1 min"], [300, "5 min"], [900, "15 min"], [3600, "1 h"]];

// What is asked for now, so that taking control changes nothing by itself.
const asked = (node) => Math.round((state["point." + node]?.asked ?? 0) * 10) / 10;

export default {
  template: `
  <div :class="['hand', active ? 'active' : '']">
    <p v-if="!points.length" class="empty">This site has no unit with a power set-point.</p>
    <template v-else>
      <div class="chips" role="radiogroup" aria-label="Unit" v-if="points.length > 1">
        <button v-for="p in points" :key="p.node" type="button" role="radio" :aria-checked="p.node === unit.node" @click="choose(p)">{{ p.label }}</button>
      </div>
      <div class="asking">
        <label :for="'kw-' + uid">{{ unit.title }}</label>
        <span class="number"><input :id="'kw-' + uid" type="number" :min="point.low" :max="point.high" step="0.1" v-model.number="kw" @input="touched = true" @change="clamp" :disabled="locked" /><i>kW</i></span>
      </div>
      <input class="slider" type="range" :min="point.low" :max="point.high" step="0.1" v-model.number="kw" @input="touched = true" :style="fill" :disabled="locked" :aria-label="unit.title + ' in kilowatts'" />
      <div class="ends"><span>{{ end(point.low) }} {{ unit.minus }}</span><span>{{ unit.plus }} {{ end(point.high) }}</span></div>

      <div class="react">
        <div><i>Asked</i><b>{{ point.askedText }}</b></div>
        <svg viewBox="0 0 200 16" preserveAspectRatio="none" aria-hidden="true">
          <line class="axis" x1="0" x2="200" y1="8" y2="8" /><line class="zero" :x1="x(0)" :x2="x(0)" y1="3" y2="13" />
          <line class="asked" v-if="point.asked != null" :x1="x(point.asked)" :x2="x(point.asked)" y1="1" y2="15" />
          <line class="actual" v-if="point.actual != null" :x1="x(0)" :x2="x(point.actual)" y1="8" y2="8" />
        </svg>
        <div><i>{{ point.note || 'Actual' }}</i><b>{{ point.actualText }}</b></div>
      </div>

      <div class="chips times" role="radiogroup" aria-label="For how long">
        <button v-for="t in times" :key="t[0]" type="button" role="radio" :aria-checked="t[0] === seconds" @click="seconds = t[0]" :disabled="locked">{{ t[1] }}</button>
      </div>

      <div class="deed" v-if="!active">
        <button type="button" class="primary" @click="take" :disabled="locked || busy || state.hand.stopped"><svg class="icon"><use href="#i-hand" /></svg>Take control</button>
      </div>
      <div class="deed" v-else>
        <span class="left" role="timer" :aria-label="'Override ends in ' + state.hand.text"><b>{{ state.hand.text }}</b><i>left</i></span>
        <button type="button" @click="act('set', {node: unit.node, kw})" :disabled="locked || busy">Apply</button>
        <button type="button" class="primary" @click="act('release')" :disabled="locked || busy">Give back</button>
      </div>
    </template>
    <p class="answer" v-if="said">{{ said }}</p>
    <div class="danger">
      <button type="button" class="stop" v-if="!state.hand.stopped" @click="$refs.confirm.showModal()" :disabled="!!denied || state.link.away"><svg class="icon"><use href="#i-stop" /></svg>Emergency stop</button>
      <button type="button" class="stop on" v-else @click="$refs.reset.showModal()" :disabled="!!denied || state.link.away"><svg class="icon"><use href="#i-stop" /></svg>Stopped – reset</button>
    </div>
    <dialog ref="confirm" aria-labelledby="stop-title">
      <h2 id="stop-title">Stop everything?</h2>
      <p>All outputs go to their safe values in the next cycle, whatever was asked, and stay there until somebody resets the stop.</p>
      <form method="dialog"><button value="no" autofocus>Keep running</button><button value="yes" class="stop" @click="act('stop')">Stop now</button></form>
    </dialog>
    <dialog ref="reset" aria-labelledby="reset-title">
      <h2 id="reset-title">Give control back?</h2>
      <p>Controllers decide again from the next cycle on, and devices that were stopped are started. Make sure that the cause is gone and nobody is at the plant.</p>
      <form method="dialog"><button value="no" autofocus>Stay stopped</button><button value="yes" class="stop" @click="act('reset')">Reset the stop</button></form>
    </dialog>
  </div>`,
  props: { points: Array, denied: String },
  data() {
    const first = this.points[0]?.node;
    return {
      state, times: TIMES, seconds: 300, kw: asked(first), chosen: first, touched: false, busy: false, uid: this.$.uid,
    };
  },
  computed: {
    unit() {
      return this.points.find((p) => p.node === this.chosen) ?? this.points[0];
    },
    point() {
      return state["point." + this.unit.node];
    },
    active: () => state.hand.left > 0,
    said() {
      return this.denied || (state.hand.stopped ? "Nobody takes control while the site is stopped." : "");
    },
    locked() {
      return !!this.denied || state.link.away;
    },
    fill() {
      const [a, b] = [this.x(0) / 2, this.x(this.kw || 0) / 2].sort((p, q) => p - q);
      return { "--from": a + "%", "--to": b + "%" };
    },
  },
  watch: {
    active(now) {
      if (!now) this.touched = false;
    },
    // Until a person moves it, the slider shows what the controllers ask for.
    "point.asked"() {
      if (!this.touched && !this.active) this.kw = asked(this.unit.node);
    },
  },
  methods: {
    choose(point) {
      this.chosen = point.node;
      this.touched = false;
      this.kw = asked(point.node);
      this.clamp();
    },
    clamp() {
      this.kw = Math.min(this.point.high, Math.max(this.point.low, this.kw || 0));
    },
    x(kw) {
      const { low, high } = this.point;
      return (200 * (Math.min(high, Math.max(low, kw)) - low)) / (high - low || 1);
    },
    end(kw) {
      return String(Math.abs(Math.round(kw * 10) / 10)) + " kW";
    },
    take() {
      this.clamp();
      this.act("take", { node: this.unit.node, kw: this.kw, seconds: this.seconds });
    },
    async act(name, detail) {
      this.busy = true;
      await act(this, name, detail);
      this.busy = false;
    },
  },
};
