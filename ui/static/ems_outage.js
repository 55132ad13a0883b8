// Shown while the OPC UA server is away: what is old, and what the supervisor says about the site.
import { state } from "ems-store";

const PARTS = [["alarms", "Alarms"], ["processes", "Processes"], ["entries", "Devices and their drivers"]];

export default {
  template: `
  <section v-if="link.away" class="outage" role="alert">
    <header><span class="spin" aria-hidden="true"></span><div><b>{{ link.title }}</b> {{ link.text }}</div></header>
    <div class="parts" v-if="link.processes.length">
      <div v-for="[key, title] in parts" :key="key">
        <h3>{{ title }}</h3>
        <p v-if="!link[key].length" class="empty">None.</p>
        <ul v-else>
          <li v-for="row in link[key]" :key="row.name + row.text" :class="row.tone"><span class="lamp"></span><b>{{ row.name }}</b> <i>{{ row.text }}</i><small v-if="row.why">{{ row.why }}</small></li>
        </ul>
      </div>
    </div>
  </section>`,
  data: () => ({ state, parts: PARTS }),
  computed: {
    link: () => state.link,
  },
  watch: {
    "state.link.away": {
      immediate: true,
      handler(away) {
        document.body.classList.toggle("away", away);
      },
    },
  },
};
