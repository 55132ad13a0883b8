// Shown while the OPC UA server is away: what is old, and what the supervisor says.
import { state } from "ems-store";

export default {
  template: `
  <div v-if="state.link.away" class="banner" role="alert">
    <span class="spin" aria-hidden="true"></span>
    <div><b>{{ state.link.title }}</b> {{ state.link.text }}</div>
    <ul v-if="state.link.processes.length">
      <li v-for="p in state.link.processes" :key="p.name" :class="p.tone"><span class="lamp"></span>{{ p.name }} <i>{{ p.text }}</i></li>
    </ul>
  </div>`,
  data: () => ({ state }),
  watch: {
    "state.link.away": {
      immediate: true,
      handler(away) {
        document.body.classList.toggle("away", away);
      },
    },
  },
};
