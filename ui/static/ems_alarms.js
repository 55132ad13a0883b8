// What is wrong now, worst first; the Alarms page has the rest.
import { age, clock, state } from "ems-store";

const SHOWN = 4;

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
      <li v-for="a in state.alarms.slice(0, shown)" :key="a.key" :class="a.level">
        <span class="lamp" :aria-label="a.level"></span>
        <div><b>{{ a.source }}</b> {{ a.text }}</div>
        <time>{{ age(clock.now - a.since) }}</time>
      </li>
    </ul>
    <a v-if="state.alarms.length" class="more" href="/alarms">{{ state.alarms.length > shown ? 'All ' + state.alarms.length + ' alarms' : 'Acknowledge and comment' }}<svg class="icon"><use href="#i-chevron" /></svg></a>
  </div>`,
  data: () => ({ clock, state, shown: SHOWN }),
  methods: { age },
};
