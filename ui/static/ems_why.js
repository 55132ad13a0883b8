// What each controller asks for now, and what limits it; first in arbitration comes first.
import { state } from "ems-store";

export default {
  template: `
  <div class="why" aria-live="off">
    <p class="empty" v-if="!state.why.rows.length">{{ silence }}</p>
    <dl v-else>
      <template v-for="r in state.why.rows" :key="r.name"><dt>{{ r.name }}</dt><dd>{{ r.text }}</dd></template>
    </dl>
  </div>`,
  data: () => ({ state }),
  computed: {
    silence() {
      if (!state.heard) return "No controller was heard yet.";
      return state.hand.stopped ? "No controller has a say while the site is stopped." : "No controller wants anything at the moment.";
    },
  },
};
