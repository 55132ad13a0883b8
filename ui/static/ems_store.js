// Carries the server's values into the store: all of them with the page, then the changes, one message per tick.
import { apply, append } from "ems-store";

export default {
  template: "<span hidden></span>",
  props: { values: Object, points: Array },
  created() {
    apply(this.values);
    append(this.points);
  },
  methods: {
    apply(values, point) {
      apply(values, point);
    },
    leave(why) {
      window.location.href = "/login?why=" + encodeURIComponent(why);
    },
  },
};
