// The health of the control cycle: how much of its time it works, how late it starts, and whether it ever slipped.
import { state } from "ems-store";

const KEPT = 90;

export default {
  template: `
  <div class="cycle">
    <svg class="pulse" viewBox="0 0 180 36" preserveAspectRatio="none" role="img" :aria-label="'The cycle uses ' + c.load + ' percent of its time'">
      <line x1="0" x2="180" y1="35" y2="35" /><polyline :points="line" />
    </svg>
    <dl>
      <div><dt>Cycle</dt><dd>{{ c.period }}<i>ms</i></dd></div>
      <div><dt>Work</dt><dd>{{ c.last }}<i>ms</i></dd></div>
      <div><dt>Worst</dt><dd>{{ c.worst }}<i>ms</i></dd></div>
      <div><dt>Jitter</dt><dd>{{ c.jitter }}<i>µs</i></dd></div>
      <div><dt>Slips</dt><dd :class="c.tone">{{ c.slips }}</dd></div>
    </dl>
  </div>`,
  data: () => ({ state, works: [] }),
  computed: {
    c: () => state.cycle,
    line() {
      const top = Math.max(1, 2 * (this.works.at(-1) ?? 0), ...this.works);
      return this.works.map((work, i) => `${(i * 180) / (KEPT - 1)},${35 - (33 * work) / top}`).join(" ");
    },
  },
  watch: {
    "state.cycle": {
      immediate: true,
      handler: "keep",
    },
  },
  methods: {
    keep({ work }) {
      if (work === null) return;
      this.works.push(work);
      if (this.works.length > KEPT) this.works.shift();
    },
  },
};
