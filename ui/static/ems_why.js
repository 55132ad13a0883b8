// What each active controller asks for, what it got, and who allowed no more.
import { state } from "ems-store";

export default {
  template: `
  <div class="why">
    <p v-if="!state.why.rows.length" class="empty">No controller is active. Units run as they would without the system.</p>
    <ul v-else>
      <li v-for="r in state.why.rows" :key="r.name">
        <b>{{ r.name }}</b>
        <p v-for="w in r.wants" :key="w.why + w.asked">{{ w.why }}<template v-if="w.asked">: {{ lower(w.asked) }}</template><em v-if="w.got"> → {{ lower(w.got) }}, {{ lower(w.by) }}</em></p>
      </li>
    </ul>
  </div>`,
  data: () => ({ state }),
  methods: {
    // What follows a colon or an arrow goes on in small letters; names keep theirs.
    lower: (text) => (/^(Asks|Wants|Adds|Keeps|Sets|Waits|At)\b/.test(text) ? text[0].toLowerCase() + text.slice(1) : text),
  },
};
