// State of charge, autarky and self-consumption as three rings.
import { state } from "ems-store";

const RINGS = [
  ["ess", "Battery", "state of charge"],
  ["autarky", "Autarky", "not drawn from the grid"],
  ["selfuse", "Self-use", "of the solar power"],
];

export default {
  template: `
  <div class="shares">
    <figure v-for="(r, i) in rings" :key="r[0]" :class="['share', r[0], state.shares[i].q]" :title="state.shares[i].note">
      <svg viewBox="0 0 100 100" role="img" :aria-label="r[1] + ' ' + state.shares[i].text + ' percent'">
        <circle class="back" cx="50" cy="50" r="42" />
        <circle class="value" cx="50" cy="50" r="42" pathLength="100" :stroke-dasharray="state.shares[i].v + ' 100'" transform="rotate(-90 50 50)" />
        <text x="50" y="57">{{ state.shares[i].text }}<tspan class="unit" dx="1">%</tspan></text>
      </svg>
      <figcaption><b>{{ r[1] }}</b><i>{{ state.shares[i].note || r[2] }}</i></figcaption>
    </figure>
  </div>`,
  data: () => ({ state, rings: RINGS }),
};
