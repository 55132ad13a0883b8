// Keyboard shortcuts: `g` and a letter opens a page, `/` goes to the search, `?` lists them all. A page that has keys of its own
// lists them in `shortcuts` of the store.
import { shortcuts } from "ems-store";

const typing = (target) => target.closest?.("input, textarea, select, [contenteditable]");

export default {
  template: `
  <dialog ref="help" class="keys-help" aria-labelledby="keys-title">
    <h2 id="keys-title">Keyboard shortcuts</h2>
    <div class="columns">
      <dl><div v-for="p in pages" :key="p.key"><dt><kbd>g</kbd> <kbd>{{ p.key }}</kbd></dt><dd>{{ p.title }}</dd></div></dl>
      <dl>
        <div><dt><kbd>/</kbd></dt><dd>Search this page</dd></div>
        <div><dt><kbd>?</kbd></dt><dd>This list</dd></div>
        <div><dt><kbd>Esc</kbd></dt><dd>Close</dd></div>
        <div v-for="s in shortcuts" :key="s[0]"><dt><kbd v-for="k in s[0].split(' ')" :key="k">{{ k }}</kbd></dt><dd>{{ s[1] }}</dd></div>
      </dl>
    </div>
    <form method="dialog"><button class="primary" autofocus>Close</button></form>
  </dialog>`,
  props: { pages: Array },
  data: () => ({ shortcuts, going: 0 }),
  mounted() {
    window.addEventListener("keydown", this.press, true);
    window.addEventListener("ems-keys", this.show);
  },
  unmounted() {
    window.removeEventListener("keydown", this.press, true);
    window.removeEventListener("ems-keys", this.show);
  },
  methods: {
    show() {
      if (!this.$refs.help.open) this.$refs.help.showModal();
    },
    press(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
      if (Date.now() - this.going < 1500) return this.go(event);
      if (event.key === "g") this.going = Date.now();
      else if (event.key === "?") this.show();
      else if (event.key === "/") this.search(event);
    },
    // The second key is meant for us: a page's own key of that letter does nothing.
    go(event) {
      this.going = 0;
      event.stopImmediatePropagation();
      const page = this.pages.find((p) => p.key === event.key);
      if (page) window.location.href = page.route;
    },
    search(event) {
      const field = document.querySelector("#main input[type=search]");
      if (!field) return;
      event.preventDefault();
      field.focus();
      field.select();
    },
  },
};
