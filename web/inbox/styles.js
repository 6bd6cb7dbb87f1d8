// How it looks: the bell here, the rest beside it. What a page may change are the custom properties at
// the top, and the parts.

import { itemStyles } from './styles-item.js'
import { panelStyles } from './styles-panel.js'
import { stateStyles } from './styles-states.js'

/** Only so that editors and prettier know what it is. */
const css = String.raw

const bellStyles = css`
  :host {
    --_accent: var(--mercurio-accent, light-dark(#2b59e0, #8fabff));
    --_background: var(--mercurio-background, light-dark(#fff, #17191f));
    --_text: var(--mercurio-text, light-dark(#151821, #eceef3));
    --_muted: var(--mercurio-muted, light-dark(#5a6172, #a0a8b8));
    --_border: var(--mercurio-border, light-dark(#e6e8ee, #2b2f39));
    --_unread: var(--mercurio-unread, var(--_accent));
    --_unread-background: var(
      --mercurio-unread-background,
      color-mix(in srgb, var(--_accent) 5%, var(--_background))
    );
    --_hover: color-mix(in srgb, var(--_text) 4.5%, transparent);
    --_badge: var(--mercurio-badge-background, light-dark(#cf1f35, #d92b41));
    --_badge-text: var(--mercurio-badge-text, #fff);
    --_warning: var(--mercurio-warning, light-dark(#a11d2e, #ffb0b8));
    --_radius: var(--mercurio-radius, 14px);
    --_shadow: var(
      --mercurio-shadow,
      0 0 0 1px light-dark(rgb(18 24 40 / 8%), rgb(255 255 255 / 9%)),
      0 4px 12px rgb(10 15 30 / 8%),
      0 18px 48px rgb(10 15 30 / 18%)
    );

    color-scheme: light dark;
    display: inline-block;
    font: 400 var(--mercurio-font-size, 14px) / 1.45
      var(
        --mercurio-font,
        system-ui,
        -apple-system,
        'Segoe UI',
        Roboto,
        'Helvetica Neue',
        sans-serif
      );
    text-align: start;
  }

  :host([theme='light']) {
    color-scheme: light;
  }

  :host([theme='dark']) {
    color-scheme: dark;
  }

  :host([theme='page']) {
    color-scheme: inherit;
  }

  :host([layout='inline']) {
    display: block;
    min-block-size: 0;
  }

  :host([hidden]),
  [hidden] {
    display: none !important;
  }

  * {
    box-sizing: border-box;
  }

  button {
    appearance: none;
    border: 0;
    margin: 0;
    padding: 0;
    background: none;
    color: inherit;
    font: inherit;
    text-align: inherit;
    cursor: pointer;
    touch-action: manipulation;
    -webkit-tap-highlight-color: transparent;
  }

  :focus-visible {
    outline: 2px solid var(--_accent);
    outline-offset: 2px;
  }

  .icon {
    display: block;
    inline-size: 1.25em;
    block-size: 1.25em;
    fill: none;
    stroke: currentColor;
    stroke-width: 1.75;
    stroke-linecap: round;
    stroke-linejoin: round;
  }

  .sr {
    position: absolute;
    inline-size: 1px;
    block-size: 1px;
    margin: -1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }

  /* The bell. */

  .bell {
    position: relative;
    display: grid;
    place-items: center;
    inline-size: 40px;
    block-size: 40px;
    border-radius: 50%;
    color: var(--mercurio-bell, inherit);
    transition: background-color 0.15s;
  }

  .bell:hover,
  .bell[aria-expanded='true'] {
    background: color-mix(in srgb, currentColor 9%, transparent);
  }

  .bell .icon {
    inline-size: 23px;
    block-size: 23px;
    transform-origin: 50% 10%;
  }

  .badge {
    position: absolute;
    inset-block-start: 1px;
    inset-inline-start: 21px;
    min-inline-size: 18px;
    block-size: 18px;
    padding-inline: 5px;
    border-radius: 9px;
    background: var(--_badge);
    color: var(--_badge-text);
    box-shadow: 0 0 0 2px var(--mercurio-bell-background, var(--_background));
    font-size: 11px;
    font-weight: 700;
    line-height: 18px;
    font-variant-numeric: tabular-nums;
    letter-spacing: -0.01em;
    text-align: center;
    white-space: nowrap;
  }
`

/** @type {CSSStyleSheet | undefined} */
let made

/** One sheet for all inboxes of a page. */
export function sheet() {
  if (!made) {
    made = new CSSStyleSheet()
    made.replaceSync(bellStyles + panelStyles + itemStyles + stateStyles)
  }
  return made
}
