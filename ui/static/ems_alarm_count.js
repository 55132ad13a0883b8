// How many alarms want attention: beside the page's name in the navigation, and in the browser's tab.
import { state } from "ems-store";

export default {
  template: `<span class="sr" style="left: 0" role="status">{{ spoken }}</span>`,
  data: () => ({ state, title: document.title }),
  computed: {
    count: () => state["alarm.count"] ?? 0,
    spoken() {
      return this.count ? `${this.count} alarm${this.count > 1 ? "s" : ""} not acknowledged` : "";
    },
  },
  watch: {
    count: {
      immediate: true,
      handler(count) {
        document.title = (count ? `(${count}) ` : "") + this.title;
        if (count) document.documentElement.style.setProperty("--alarms", JSON.stringify(count > 99 ? "99+" : String(count)));
        else document.documentElement.style.removeProperty("--alarms");
      },
    },
  },
};
