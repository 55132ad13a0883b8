// Who asked for what, what limited it, and why.
import { state } from "ems-store";

export default {
  template: `
  <div class="why" aria-live="off">
    <p class="lead">{{ state.why.text || "No controller wants anything at the moment." }}</p>
    <dl v-if="state.why.rows.length">
      <template v-for="r in state.why.rows" :key="r.name"><dt>{{ r.name }}</dt><dd>{{ r.text }}</dd></template>
    </dl>
  </div>`,
  data: () => ({ state }),
};
