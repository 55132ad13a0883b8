// Carries the server's values into the store: all of them with the page, then the changes, one message per tick.
// Tells the server whether the person looks at this tab; while nobody does, nothing is sent.
import { answer, state } from "ems-store";

export default {
  template: "<span hidden></span>",
  props: { values: Object },
  created() {
    Object.assign(state, this.values);
  },
  mounted() {
    this.looks();
    document.addEventListener("visibilitychange", this.looks);
  },
  unmounted() {
    document.removeEventListener("visibilitychange", this.looks);
  },
  methods: {
    // Told once the server listens; events that wait for that may overtake each other.
    looks() {
      clearTimeout(this.later);
      if (window.did_handshake) this.$emit("looks", !document.hidden);
      else this.later = setTimeout(this.looks, 20);
    },
    apply(values) {
      Object.assign(state, values);
    },
    answer,
    leave(why) {
      window.location.href = "/login?why=" + encodeURIComponent(why);
    },
  },
};
