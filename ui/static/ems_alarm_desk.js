// All alarms: who wants attention first. One row is chosen by mouse or keys; what can be done about it is below it.
import { act, age, clock, shortcuts, state } from "ems-store";

const FORMS = [["active", "Active"], ["open", "Unacknowledged"], ["all", "All"], ["past", "History"]];
const SHELVES = [[900, "15 min"], [3600, "1 h"], [28800, "8 h"], [0, "Until it is gone"]];
const QUIET = {
  active: ["All quiet", "No alarm is active. Devices and controllers report in every cycle."],
  open: ["Nothing waits", "Every alarm was acknowledged."],
  all: ["All quiet", "No alarm is active, and none waits to be acknowledged."],
};

const time = (seconds) => new Date(seconds * 1000).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

const lasted = (seconds) => (seconds < 120 ? seconds + " s" : age(seconds));

export default {
  template: `
  <section class="card alarm-desk" aria-label="Alarms">
    <header>
      <span class="chips" role="radiogroup" aria-label="Which alarms"><button v-for="[key, title] in forms" :key="key" type="button" role="radio" :aria-checked="form === key" @click="pick(key)">{{ title }}<b v-if="count(key)">{{ count(key) }}</b></button></span>
      <button type="button" v-if="may && open.length > 1 && form !== 'past'" @click="$refs.all.showModal()" :disabled="locked">Acknowledge all</button>
    </header>
    <div v-if="form === 'past'" class="past">
      <p v-if="past.known && !past.rows.length" class="empty">No alarm was recorded yet.</p>
      <ol v-else>
        <li v-for="(r, i) in past.rows" :key="r.time + r.text + i" :class="r.over ? 'over' : r.level"><span class="lamp"></span><time>{{ time(r.time) }}</time><span class="text">{{ r.text }}</span><i>{{ r.over ? 'over after ' + lasted(r.lasted) : 'came' }}</i></li>
      </ol>
      <div class="deed" v-if="past.more || !past.follows"><button type="button" v-if="past.more" @click="deed('older')">Older</button><button type="button" v-if="!past.follows" @click="deed('newest')">Back to the newest</button></div>
    </div>
    <div v-else-if="!listed.length" class="quiet"><svg class="icon"><use href="#i-check" /></svg><div><b>{{ quiet[form][0] }}</b><i>{{ state.link.away ? 'As last heard: the OPC UA server is away.' : quiet[form][1] }}</i></div></div>
    <ul v-else class="rows" aria-live="polite">
      <li v-for="a in listed" :key="a.key" :class="[a.level, a.waits ? 'waits' : '', a.active ? '' : 'gone', a.key === chosen ? 'chosen' : '']">
        <button type="button" class="head" @click="choose(a)" :aria-expanded="a.key === chosen">
          <span class="lamp" :title="'Severity ' + a.severity"></span>
          <span class="what"><b>{{ a.source }}</b><span>{{ a.text }}</span></span>
          <span :class="['pill', word(a)[1]]">{{ word(a)[0] }}</span>
          <time :title="time(a.since)">{{ age(clock.now - a.since) }}</time>
        </button>
        <button v-if="may && a.waits && a.key !== chosen" type="button" class="small ack" :disabled="locked" @click="deed('acknowledge', a)" :aria-label="'Acknowledge ' + a.source">Acknowledge</button>
        <div v-if="a.key === chosen" class="body">
          <dl class="facts"><div><dt>Condition</dt><dd>{{ a.name }}</dd></div><div><dt>Severity</dt><dd>{{ a.severity }}</dd></div><div><dt>{{ a.active ? 'Active since' : 'Last change' }}</dt><dd>{{ time(a.since) }}</dd></div><div><dt>Source</dt><dd><code>{{ a.alias }}</code></dd></div></dl>
          <p v-if="a.comment || a.user" class="said"><b>{{ a.user || 'Somebody' }}</b> {{ a.comment || (a.acked ? 'acknowledged it.' : '') }}</p>
          <template v-if="may">
            <label class="sr" :for="'say-' + a.key">Comment</label>
            <input :id="'say-' + a.key" ref="say" class="say" v-model="text" maxlength="500" placeholder="Comment, kept with the alarm" @keydown.enter="a.waits ? deed('acknowledge', a) : deed('comment', a)" />
            <div class="deeds">
              <button v-if="!a.acked" type="button" class="primary" :disabled="locked" @click="deed('acknowledge', a)">Acknowledge</button>
              <button v-if="a.confirm" type="button" class="primary" :disabled="locked" @click="deed('confirm', a)">Confirm</button>
              <button type="button" :disabled="locked || !text.trim()" @click="deed('comment', a)">Comment</button>
              <span class="gap"></span>
              <button v-if="a.shelved" type="button" :disabled="locked" @click="deed('unshelve', a)">Take back from the shelf</button>
              <label v-else class="shelf"><span class="sr">Shelve for</span><select :disabled="locked" @change="shelve(a, $event)"><option value="">Shelve for…</option><option v-for="[s, title] in shelves" :key="s" :value="s">{{ title }}</option></select></label>
            </div>
          </template>
        </div>
      </li>
    </ul>
    <p v-if="!may" class="foot">Your role may look but not acknowledge. Log in as an operator to do that.</p>
    <dialog ref="all" aria-labelledby="all-title">
      <h2 id="all-title">Acknowledge {{ open.length }} alarms?</h2>
      <p>You say that you have seen each of them. Those that are active stay in the list until their cause is gone.</p>
      <form method="dialog"><button value="no" autofocus>Cancel</button><button value="yes" class="primary" @click="everything">Acknowledge all</button></form>
    </dialog>
  </section>`,
  props: { may: Boolean },
  data: () => ({ state, clock, forms: FORMS, shelves: SHELVES, quiet: QUIET, form: "all", chosen: "", text: "", busy: false }),
  computed: {
    rows: () => state["alarm.rows"],
    past: () => state["alarm.past"],
    open() {
      return this.rows.filter((a) => a.waits);
    },
    locked() {
      return this.busy || state.link.away;
    },
    listed() {
      return { active: this.rows.filter((a) => a.active), open: this.open, all: this.rows }[this.form] ?? [];
    },
  },
  mounted() {
    shortcuts.push(["↑ ↓", "Another alarm"], ["a", "Acknowledge"], ["c", "Comment"]);
    window.addEventListener("keydown", this.press);
  },
  unmounted() {
    window.removeEventListener("keydown", this.press);
  },
  methods: {
    age,
    time,
    lasted,
    count(form) {
      return { active: this.rows.filter((a) => a.active).length, open: this.open.length }[form];
    },
    word(a) {
      if (a.shelved) return ["shelved", "calm"];
      if (a.suppressed) return ["suppressed", "calm"];
      if (a.confirm) return ["waits for confirmation", "warn"];
      if (!a.acked) return a.active ? ["new", "bad"] : ["gone, not acknowledged", "warn"];
      return a.active ? ["acknowledged", "calm"] : ["gone", "calm"];
    },
    pick(form) {
      this.form = form;
      act(this, "history", { on: form === "past" });
    },
    choose(a) {
      this.chosen = this.chosen === a.key ? "" : a.key;
      this.text = "";
    },
    press(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
      const at = this.listed.findIndex((a) => a.key === this.chosen);
      const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
      const next = step && this.listed[at < 0 ? 0 : at + step];
      if (next) {
        event.preventDefault();
        if (next.key !== this.chosen) this.choose(next);
      } else if (event.key === "a" && this.may && this.listed[at]?.waits && !this.locked) this.deed("acknowledge", this.listed[at]);
      else if (event.key === "c" && this.may && at >= 0) {
        event.preventDefault();
        this.$refs.say?.[0]?.focus();
      }
    },
    shelve(a, event) {
      const seconds = event.target.value;
      event.target.value = "";
      if (seconds !== "") this.deed("shelve", a, { seconds: Number(seconds) });
    },
    async everything() {
      for (const a of this.open) if (!(await this.deed("acknowledge", a))) break;
    },
    async deed(name, a, more) {
      this.busy = true;
      const done = await act(this, name, a ? { alarm: a.key, event: a.event, text: this.text.trim(), ...more } : {});
      this.busy = false;
      if (done && a) this.text = "";
      return done;
    },
  },
};
