// The energy flow: four corners around the house. A cable's width follows the power, its dots the direction and the speed.
// The dots are one CSS animation per cable; only its playback rate is changed, so that they never jump.
import { state } from "ems-store";

const WIDE = {
  box: [700, 384], r: 43, home: [350, 188, 82],
  at: { pv: [88, 58], grid: [88, 274], ess: [612, 58], ev: [612, 274] },
};
const TALL = {
  short: true, box: [380, 440], r: 37, home: [190, 212, 66],
  at: { pv: [70, 48], grid: [70, 344], ess: [310, 48], ev: [310, 344] },
};
const NAMES = { pv: "Solar", grid: "Grid", ess: "Battery", ev: "Vehicle" };
const INWARD = { pv: 1, grid: 1, ess: 1, ev: -1 }; // sign of a power that flows into the house

function cable(shape, name) {
  const [hx, hy, hr] = shape.home;
  const [x, y] = shape.at[name];
  const side = x < hx ? 1 : -1;
  const below = y < hy ? -1 : 1;
  const from = [x + side * (shape.r + 5), y];
  const to = [hx - side * hr * 0.93, hy + below * hr * 0.52];
  const bend = Math.abs(to[0] - from[0]) * 0.62;
  return `M${from} C${from[0] + side * bend},${from[1]} ${to[0] - side * bend},${to[1]} ${to}`;
}

export default {
  template: `
  <div class="flow" ref="box">
    <svg :viewBox="'0 0 ' + shape.box.join(' ')" role="img" :aria-label="spoken">
      <g v-for="c in cables" :key="c.name" :class="['cable', c.name, c.idle ? 'idle' : '', c.q]" :style="{'--w': c.width}">
        <path class="rail" :d="c.path" />
        <path :class="['dots', c.inward ? '' : 'out']" :d="c.path" :ref="'dots-' + c.name" />
        <path class="arrow" :d="c.arrow" />
      </g>
      <g class="hub" :transform="'translate(' + shape.home[0] + ' ' + shape.home[1] + ')'">
        <circle class="disc" :r="shape.home[2]" />
        <circle v-for="s in mix" :key="s.name" :class="['slice', s.name]" :r="shape.home[2]" pathLength="100"
          :stroke-dasharray="s.dash" :stroke-dashoffset="s.offset" transform="rotate(-90)" />
        <svg class="icon" x="-12" :y="-shape.home[2] * 0.66" width="24" height="24"><use href="#i-home" /></svg>
        <text class="figure" :class="state.home.q" y="13">{{ state.home.text }}<tspan class="unit" dx="4">kW</tspan></text>
        <text class="word" y="33">{{ state.home.q ? state.home.word : 'House' }}</text>
      </g>
      <g v-for="n in nodes" :key="n.name" :class="['node', n.name, n.q, n.idle ? 'idle' : '']" :transform="'translate(' + n.x + ' ' + n.y + ')'">
        <circle class="disc" :r="shape.r" />
        <circle v-if="n.name === 'ess'" class="ring-back" :r="shape.r" />
        <circle v-if="n.name === 'ess'" class="ring" :r="shape.r" pathLength="100" :stroke-dasharray="soc + ' 100'" transform="rotate(-90)" />
        <svg class="icon" x="-15" :y="n.name === 'ess' ? -24 : -15" width="30" height="30"><use :href="'#i-' + n.name" /></svg>
        <text v-if="n.name === 'ess'" class="soc" y="24">{{ state.shares[0].text }} %</text>
        <text class="figure" :y="shape.r + 31">{{ n.text }}<tspan class="unit" dx="4">kW</tspan></text>
        <text class="word" :y="shape.r + 51">{{ shape.short || n.q ? n.word : n.label + ' · ' + n.word }}</text>
      </g>
    </svg>
  </div>`,
  props: { parts: Array },
  data: () => ({ shape: WIDE, state }),
  computed: {
    nodes() {
      return this.parts.map((name) => {
        const [x, y] = this.shape.at[name];
        const { text, word, q, w } = state[name];
        return { name, label: NAMES[name], x, y, text: text.replace("−", ""), word, q, idle: Math.abs(w) < 20 };
      });
    },
    scale() {
      return Math.max(3000, ...this.parts.map((n) => Math.abs(state[n].w)));
    },
    cables() {
      return this.parts.map((name) => {
        const { w, q } = state[name];
        const share = Math.min(1, Math.abs(w) / this.scale);
        const inward = w * INWARD[name] >= 0;
        const path = cable(this.shape, name);
        return { name, q, path, inward, idle: Math.abs(w) < 20, width: (2.5 + 5.5 * Math.sqrt(share)).toFixed(2),
          rate: 0.35 + 1.9 * Math.sqrt(share), arrow: this.arrow(name, inward) };
      });
    },
    soc() {
      return state.shares[0].v;
    },
    mix() {
      const total = state.mix.reduce((a, b) => a + b, 0);
      if (total < 20) return [];
      let start = 0;
      return ["pv", "ess", "grid"].map((name, i) => {
        const part = (100 * state.mix[i]) / total;
        const slice = { name, dash: `${Math.max(0, part - 0.9)} 100`, offset: -start };
        start += part;
        return slice;
      });
    },
    spoken() {
      const parts = this.nodes.map((n) => `${n.label} ${n.word} ${n.text} kilowatts`);
      return `Energy flow. House uses ${state.home.text} kilowatts. ${parts.join(", ")}.`;
    },
  },
  watch: {
    cables: { handler: "setSpeeds", flush: "post" },
  },
  mounted() {
    this.observer = new ResizeObserver(([entry]) => {
      this.shape = entry.contentRect.width < 520 ? TALL : WIDE;
    });
    this.observer.observe(this.$refs.box);
    this.setSpeeds();
  },
  unmounted() {
    this.observer.disconnect();
  },
  methods: {
    arrow(name, inward) {
      const [hx, hy] = this.shape.home;
      const [x, y] = this.shape.at[name];
      const [mx, my] = [(x + hx) / 2, (y + hy) / 2];
      const tip = (inward ? 1 : -1) * (x < hx ? 1 : -1);
      return `M${mx - 4 * tip},${my - 7} L${mx + 5 * tip},${my} L${mx - 4 * tip},${my + 7}`;
    },
    setSpeeds() {
      for (const c of this.cables) {
        const [dots] = this.$refs["dots-" + c.name] ?? [];
        dots?.getAnimations().forEach((a) => Math.abs(a.playbackRate - c.rate) > 0.03 && a.updatePlaybackRate(c.rate));
      }
    },
  },
};
