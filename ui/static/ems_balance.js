// The power balance as an equation: what comes in equals what goes out.
import { state } from "ems-store";

const TERMS = [["pv", "Solar"], ["ess", "Battery"], ["grid", "Grid"]];

export default {
  template: `
  <p class="balance" aria-label="Power balance in kilowatts">
    <template v-for="(t, i) in sources" :key="t[0]">
      <span v-if="i" class="op">+</span>
      <span :class="['term', t[0], state[t[0]].q]"><b>{{ state[t[0]].text }}</b><i>{{ t[1] }}</i></span>
    </template>
    <span class="op">=</span>
    <span :class="['term', 'home', state.home.q]"><b>{{ state.home.text }}</b><i>House</i></span>
    <template v-if="parts.includes('ev')">
      <span class="op">+</span>
      <span :class="['term', 'ev', state.ev.q]"><b>{{ state.ev.text }}</b><i>Vehicle</i></span>
    </template>
    <span class="kw">kW</span>
  </p>`,
  props: { parts: Array },
  data: () => ({ state }),
  computed: {
    sources() {
      return TERMS.filter(([name]) => this.parts.includes(name));
    },
  },
};
