// What the theme leaves out for keyboards and screen readers.

document.querySelector(".md-search")?.setAttribute("aria-label", "Search");

// What can be scrolled sideways is reached by Tab, on devices without a mouse, too.
const wide = "pre > code, .md-typeset__scrollwrap, .output, .outputs p, div.formula";
const observer = new ResizeObserver((entries) => {
  for (const { target } of entries) if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
});
addEventListener("load", () => document.querySelectorAll(wide).forEach((element) => observer.observe(element)));
