// What became of the last deed. The place is there before the words are, so that screen readers speak them.
import { state } from "ems-store";

export default {
  template: `
  <div class="toasts" role="status" aria-live="polite">
    <div v-if="state.toast" :class="['toast', state.toast.ok ? 'good' : 'bad']">
      <svg class="icon" aria-hidden="true"><use :href="state.toast.ok ? '#i-check' : '#i-alarms'" /></svg>
      <span>{{ state.toast.text }}</span>
      <button type="button" class="round" aria-label="Dismiss" @click="state.toast = null"><svg class="icon"><use href="#i-close" /></svg></button>
    </div>
  </div>`,
  data: () => ({ state }),
};
