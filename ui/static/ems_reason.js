// The site's one sentence: who asked, what limited it, and why.
import { state } from "ems-store";

export default {
  template: `<p class="reason">{{ state.why.text }}</p>`,
  data: () => ({ state }),
};
