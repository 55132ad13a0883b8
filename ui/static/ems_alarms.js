// What is wrong now, worst first.
import { state } from "ems-store";

export default {
  template: `
  <div aria-live="polite">
    <p v-if="!state.alarms.length && (!state.heard || state.link.away)" class="empty">
      {{ state.link.away ? 'Not known while the OPC UA server is away.' : 'Nothing was heard from the site yet.' }}
    </p>
    <div v-else-if="!state.alarms.length" class="quiet">
      <svg class="icon"><use href="#i-check" /></svg>
      <div><b>All quiet</b><i>No alarm is active. Devices and controllers report in every cycle.</i></div>
    </div>
    <ul v-else class="alarms">
      <li v-for="a in state.alarms" :key="a.key" :class="a.level">
        <span class="lamp" :aria-label="a.level"></span>
        <div><b>{{ a.title }}</b> {{ a.text }}</div>
        <time>{{ a.age }}</time>
      </li>
    </ul>
  </div>`,
  data: () => ({ state }),
};
