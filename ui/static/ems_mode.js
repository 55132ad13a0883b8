// The site's mode as a pill.
import { state } from "ems-store";

export default {
  template: `<span :class="['pill', state.mode.tone]" role="status"><span class="lamp"></span>{{ state.mode.text }}</span>`,
  data: () => ({ state }),
};
