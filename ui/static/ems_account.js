// Who is logged in; the theme, the keys, and the way out.
import { chooseTheme, theme } from "ems-store";

const THEMES = [["", "System", "auto"], ["light", "Light", "sun"], ["dark", "Dark", "moon"]];

export default {
  template: `
  <details class="account" ref="menu" @keydown.esc="close" @focusout="left">
    <summary aria-label="Account and settings"><span class="face" aria-hidden="true">{{ name.slice(0, 1) }}</span><span class="name">{{ name }}</span></summary>
    <div class="menu">
      <p class="whose"><b>{{ name }}</b><i>{{ roles.length ? roles.map(spaced).join(", ") : "no role" }}</i></p>
      <div class="chips" role="radiogroup" aria-label="Theme">
        <button v-for="[key, label, mark] in themes" :key="key" type="button" role="radio" :aria-checked="theme.chosen === key" @click="choose(key)">
          <svg class="icon"><use :href="'#i-' + mark" /></svg>{{ label }}</button>
      </div>
      <button type="button" class="row" @click="keys"><svg class="icon"><use href="#i-keys" /></svg>Keyboard shortcuts<kbd>?</kbd></button>
      <form method="post" action="/logout"><button class="row"><svg class="icon"><use href="#i-out" /></svg>Sign out</button></form>
    </div>
  </details>`,
  props: { name: String, roles: Array },
  data: () => ({ theme, themes: THEMES }),
  mounted() {
    document.addEventListener("pointerdown", this.outside);
  },
  unmounted() {
    document.removeEventListener("pointerdown", this.outside);
  },
  methods: {
    spaced: (role) => role.replace(/(?<=[a-z])(?=[A-Z])/g, " "),
    choose: chooseTheme,
    close() {
      this.$refs.menu.open = false;
      this.$refs.menu.querySelector("summary").focus();
    },
    outside(event) {
      if (!this.$refs.menu.contains(event.target)) this.$refs.menu.open = false;
    },
    left(event) {
      if (event.relatedTarget && !this.$refs.menu.contains(event.relatedTarget)) this.$refs.menu.open = false;
    },
    keys() {
      this.$refs.menu.open = false;
      window.dispatchEvent(new Event("ems-keys"));
    },
  },
};
