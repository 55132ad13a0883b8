// The health of the control cycle.
import { state } from "ems-store";

export default {
  template: `
  <div class="cycle">
    <div class="bar" role="img" :aria-label="'The cycle uses ' + c.load + ' percent of its time'"><span :style="{width: Math.max(1, c.load) + '%'}"></span></div>
    <dl>
      <div><dt>Cycle</dt><dd>{{ c.period }}<i>ms</i></dd></div>
      <div><dt>Work</dt><dd>{{ c.last }}<i>ms</i></dd></div>
      <div><dt>Worst</dt><dd>{{ c.worst }}<i>ms</i></dd></div>
      <div><dt>Slips</dt><dd :class="c.tone">{{ c.slips }}</dd></div>
    </dl>
  </div>`,
  data: () => ({ state }),
  computed: {
    c: () => state.cycle,
  },
};
