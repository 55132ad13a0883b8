// One's own password; users with their roles; certificates to trust and reject.
import { act, copy, state } from "ems-store";

const STATES = { rejected: ["waits for a decision", "warn"], trusted: ["trusted", "good"], own: ["this site’s own", "calm"], issuer: ["authority", "calm"] };
const FORMS = ["all", "rejected", "trusted", "own", "issuer"];

const Roles = {
  template: `
  <fieldset class="roles"><legend>Roles</legend>
    <label v-for="r in roles" :key="r.name"><input type="checkbox" :value="r.name" :checked="chosen.includes(r.name)" @change="flip(r.name)" />
      <span><b>{{ spaced(r.name) }}</b><i>{{ r.does }}</i></span></label>
  </fieldset>`,
  props: { roles: Array, chosen: Array },
  emits: ["change"],
  methods: {
    spaced,
    flip(name) {
      this.$emit("change", this.chosen.includes(name) ? this.chosen.filter((r) => r !== name) : [...this.chosen, name]);
    },
  },
};

function spaced(role) {
  return role.replace(/(?<=[a-z])(?=[A-Z])/g, " ");
}

export default {
  components: { Roles },
  template: `
  <div class="access">
    <section class="card own" aria-label="Your account">
      <h2>Your account</h2>
      <p class="whose"><span class="face" aria-hidden="true">{{ name.slice(0, 1) }}</span><span><b>{{ name }}</b><i>{{ own.length ? own.map(spaced).join(", ") : "no role" }}</i></span></p>
      <details class="fold"><summary><svg class="icon"><use href="#i-key" /></svg>Change password</summary>
      <form class="lined" @submit.prevent="change">
        <label>Old password<input type="password" v-model="old" autocomplete="current-password" required /></label>
        <label>New password<input type="password" v-model="fresh" autocomplete="new-password" required :minlength="shortest" /></label>
        <label>New password again<input type="password" v-model="again" autocomplete="new-password" required /></label>
        <p v-if="again && again !== fresh" class="problem">The two are not the same.</p>
        <p v-else class="hintline">{{ shortest }} characters or more.</p>
        <button class="primary" :disabled="busy || away || !old || fresh.length < shortest || fresh !== again">Set new password</button>
      </form></details>
    </section>

    <section class="card people" aria-label="Users">
      <h2>Users<button v-if="may" type="button" class="small" @click="begin" :disabled="away"><svg class="icon"><use href="#i-plus" /></svg>Add user</button></h2>
      <p v-if="!may" class="empty">Your role does not allow this: users and certificates are managed by a security administrator.</p>
      <ul v-else class="accounts">
        <li v-for="u in state.users" :key="u.name">
          <span class="face" aria-hidden="true">{{ u.name.slice(0, 1) }}</span>
          <div><b>{{ u.name }}</b><i>{{ u.roles.map(spaced).join(", ") }}</i></div>
          <span :class="['pill', tone(u.state)]" :title="u.state"><span class="lamp"></span>{{ brief(u.state) }}</span>
          <span class="deeds">
            <button type="button" class="small" @click="edit(u)" :disabled="away" :aria-label="'Roles of ' + u.name">Roles</button>
            <button v-if="u.name !== name && !u.state.startsWith('certificate')" type="button" class="small" @click="sure('reset', u)" :disabled="away" :aria-label="'Reset the password of ' + u.name">Reset password</button>
            <button v-if="u.name !== name" type="button" class="small" @click="sure('remove', u)" :disabled="away" :aria-label="'Remove ' + u.name">Remove</button>
          </span>
        </li>
      </ul>
    </section>

    <section v-if="may" class="card certs" aria-label="Certificates">
      <h2>Certificates
        <span class="chips" role="radiogroup" aria-label="Which certificates"><button v-for="f in forms" :key="f" type="button" role="radio" :aria-checked="f === form" @click="form = f">{{ f }}<b v-if="count(f)">{{ count(f) }}</b></button></span></h2>
      <p v-if="!listed.length" class="empty">{{ form === 'rejected' ? 'No application waits to be trusted. One that connects for the first time shows up here.' : 'None.' }}</p>
      <ul v-else class="papers">
        <li v-for="c in listed" :key="c.state + c.thumbprint" :class="c.state">
          <div><b>{{ c.name }}</b><i v-if="c.uri">{{ c.uri }}</i><code :title="'SHA-1 thumbprint'">{{ print(c.thumbprint) }}</code></div>
          <span :class="['pill', word(c)[1]]"><span class="lamp"></span>{{ word(c)[0] }}</span>
          <span :class="['until', c.days < 0 ? 'bad' : c.days < 30 ? 'warn' : '']">{{ c.days < 0 ? 'expired' : 'until' }} {{ c.until }}</span>
          <span class="deeds">
            <button v-if="c.state === 'rejected'" type="button" class="small primary" @click="sure('trust', c)" :disabled="away" :aria-label="'Trust ' + c.name">Trust</button>
            <button v-if="c.state === 'trusted'" type="button" class="small" @click="sure('reject', c)" :disabled="away" :aria-label="'Reject ' + c.name">Reject</button>
          </span>
        </li>
      </ul>
    </section>

    <dialog ref="user" class="wide-dialog" aria-labelledby="user-title">
      <form class="lined" @submit.prevent="save">
        <h2 id="user-title">{{ editing ? 'Roles of ' + editing : 'Add a user' }}</h2>
        <label v-if="!editing">Name<input v-model.trim="wanted" required maxlength="64" pattern="[A-Za-z0-9][A-Za-z0-9._@\\-]*" title="Letters, digits and . _ @ -" autocapitalize="none" autocomplete="off" /></label>
        <Roles :roles="roles" :chosen="chosen" @change="chosen = $event" />
        <p v-if="!editing" class="hintline">The user gets a one-time password, and chooses another at the first login.</p>
        <div class="choice"><button type="button" @click="$refs.user.close()">Cancel</button><button class="primary" :disabled="busy || !chosen.length">{{ editing ? 'Save' : 'Add user' }}</button></div>
      </form>
    </dialog>
    <dialog ref="secret" class="wide-dialog" aria-labelledby="secret-title" @close="secret = null">
      <h2 id="secret-title">One-time password of {{ secret?.user }}</h2>
      <p>It is shown this once and kept nowhere. Hand it over in a safe way; it lets {{ secret?.user }} in once, to choose another.</p>
      <button type="button" class="chip wide" @click="take" aria-label="Copy the one-time password"><code>{{ secret?.password }}</code><svg class="icon"><use :href="copied ? '#i-check' : '#i-copy'" /></svg></button>
      <form method="dialog" class="single"><button class="primary">Done</button></form>
    </dialog>
    <dialog ref="sure" aria-labelledby="sure-title">
      <template v-if="deed">
        <h2 id="sure-title">{{ deed.title }}</h2><p>{{ deed.text }}</p>
        <p v-if="deed.thumbprint" class="compare"><code>{{ print(deed.thumbprint) }}</code></p>
        <form method="dialog"><button value="no" :autofocus="true">Cancel</button><button value="yes" :class="deed.stop ? 'stop' : 'primary'" @click="carry">{{ deed.label }}</button></form>
      </template>
    </dialog>
  </div>`,
  props: { name: String, own: Array, roles: Array, may: Boolean, shortest: Number },
  data: () => ({ state, forms: FORMS, form: "all", old: "", fresh: "", again: "", busy: false, wanted: "", chosen: [], editing: "", secret: null, copied: false, deed: null }),
  computed: {
    away: () => state.link.away,
    listed() {
      return state.trust.filter((c) => this.form === "all" || c.state === this.form);
    },
  },
  methods: {
    spaced,
    word: (c) => STATES[c.state] ?? [c.state, "calm"],
    print: (thumbprint) => thumbprint.toUpperCase().replace(/(.{4})(?=.)/g, "$1 "),
    tone: (said) => (said === "locked" ? "bad" : said.startsWith("one-time") ? "warn" : said.includes("logged in") ? "good" : "calm"),
    brief: (said) => (said.includes("logged in") ? "logged in" : said),
    count: (form) => (form === "rejected" ? state.trust.filter((c) => c.state === form).length : 0),
    begin() {
      Object.assign(this, { editing: "", wanted: "", chosen: ["Observer"] });
      this.$refs.user.showModal();
    },
    edit(user) {
      Object.assign(this, { editing: user.name, chosen: [...user.roles] });
      this.$refs.user.showModal();
    },
    async save() {
      const done = this.editing ? await this.do("roles", { name: this.editing, roles: this.chosen }) : await this.do("add", { name: this.wanted, roles: this.chosen });
      if (done) this.$refs.user.close();
    },
    async change() {
      if (await this.do("password", { old: this.old, new: this.fresh })) Object.assign(this, { old: "", fresh: "", again: "" });
    },
    sure(kind, thing) {
      const name = thing.name;
      this.deed = {
        reset: { title: `Reset the password of ${name}?`, text: "The old password is void at once. You get a one-time password to hand over.", label: "Reset" },
        remove: { title: `Remove ${name}?`, text: "The user is out at once and cannot log in any more. What was recorded stays.", label: "Remove", stop: true },
        trust: { title: `Trust ${name}?`, text: "The application may then connect; who logs in through it still needs a user and a role. Compare the thumbprint with the one the application shows.", label: "Trust", thumbprint: thing.thumbprint },
        reject: { title: `Take trust away from ${name}?`, text: "Its connections are closed, and it cannot connect until it is trusted again.", label: "Reject", stop: true, thumbprint: thing.thumbprint },
      }[kind];
      this.carry = () => this.do(kind, { name, thumbprint: thing.thumbprint });
      this.$refs.sure.showModal();
    },
    carry() {},
    reveal(user, password) {
      this.secret = { user, password };
      this.copied = false;
      this.$refs.user.close();
      this.$refs.secret.showModal();
    },
    async take() {
      await copy(this.secret.password);
      this.copied = true;
    },
    async do(event, detail) {
      this.busy = true;
      const done = await act(this, event, detail);
      this.busy = false;
      return done;
    },
  },
};
