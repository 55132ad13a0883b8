// State of charge, autarky and self-consumption as rings; the day's energies; the price where there is a tariff.
import { state } from "ems-store";

const RINGS = [
  ["ess", "Battery", "state of charge"],
  ["autarky", "Autarky", "not from the grid"],
  ["selfuse", "Self-use", "of the solar power"],
];

export default {
  template: `
  <div>
    <div class="shares">
      <figure v-for="(r, i) in rings" :key="r[0]" :class="['share', r[0], state.shares[i].q]" :title="state.shares[i].note">
        <svg viewBox="0 0 100 100" role="img" :aria-label="r[1] + ' ' + state.shares[i].text + ' percent'">
          <circle class="back" cx="50" cy="50" r="42" />
          <circle class="value" cx="50" cy="50" r="42" pathLength="100" :stroke-dasharray="state.shares[i].v + ' 100'" transform="rotate(-90 50 50)" />
          <text x="50" y="57">{{ state.shares[i].text }}<tspan class="unit" dx="1">%</tspan></text>
        </svg>
        <figcaption><b>{{ r[1] }}</b><i>{{ state.shares[i].note || r[2] }}</i></figcaption>
      </figure>
    </div>
    <ul class="today" v-if="state.today.length" aria-label="Energy since midnight">
      <li v-for="e in state.today" :key="e.word" :class="e.c"><i>{{ e.word }}</i><b>{{ e.text }}<small>kWh</small></b><span><u :style="{width: Math.max(1.5, 100 * e.kwh / most) + '%'}"></u></span></li>
    </ul>
    <p class="price" v-if="state.price"><b>{{ state.price.buy }}</b> to buy <b>{{ state.price.sell }}</b> to sell <i>{{ state.price.unit }} now</i></p>
    <p class="price" v-else><i>No tariff is configured, so there is no price to show.</i></p>
  </div>`,
  data: () => ({ state, rings: RINGS }),
  computed: {
    most: () => Math.max(0.1, ...state.today.map((e) => e.kwh)),
  },
};
