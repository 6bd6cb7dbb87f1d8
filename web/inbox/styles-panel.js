// How the panel looks: its head, what stands above the list, and the place for that.

/** Only so that editors and prettier know what it is. */
const css = String.raw

export const panelStyles = css`
  .panel {
    container-type: inline-size;
    display: flex;
    flex-direction: column;
    color: var(--_text);
    background: var(--_background);
    overflow: hidden;
    overflow-wrap: anywhere;
    outline: none;
  }

  .panel[popover] {
    position: fixed;
    inset: var(--_top, auto) auto var(--_bottom, auto) var(--_left, auto);
    inline-size: min(var(--mercurio-panel-width, 400px), 100vw - 24px);
    max-block-size: min(var(--mercurio-panel-max-height, 600px), var(--_room, 100vh));
    margin: 0;
    padding: 0;
    border: 0;
    border-radius: var(--_radius);
    box-shadow: var(--_shadow);
  }

  .panel[popover]:not(:popover-open) {
    display: none;
  }

  :host([layout='inline']) .panel {
    block-size: 100%;
    max-block-size: inherit;
  }

  .header {
    display: flex;
    flex: none;
    align-items: center;
    gap: 8px;
    min-block-size: 56px;
    padding: 8px 12px 8px 18px;
    border-block-end: 1px solid var(--_border);
  }

  .header:dir(rtl) {
    padding: 8px 18px 8px 12px;
  }

  .heading {
    margin: 0;
    font-size: 1.15em;
    font-weight: 700;
    letter-spacing: -0.012em;
    white-space: nowrap;
    overflow: hidden;
    text-overflow: ellipsis;
  }

  .count {
    flex: none;
    padding: 2px 8px;
    border-radius: 99px;
    background: color-mix(in srgb, var(--_text) 6%, transparent);
    color: var(--_muted);
    font-size: 0.8em;
    font-weight: 500;
    font-variant-numeric: tabular-nums;
    white-space: nowrap;
  }

  .count[data-unread] {
    background: color-mix(in srgb, var(--_accent) 11%, transparent);
    color: color-mix(in srgb, var(--_accent) 85%, var(--_text));
  }

  .mark-all {
    display: flex;
    flex: none;
    align-items: center;
    gap: 5px;
    min-block-size: 32px;
    margin-inline-start: auto;
    padding-inline: 8px;
    border-radius: 8px;
    color: color-mix(in srgb, var(--_accent) 90%, var(--_text));
    font-size: 0.9em;
    font-weight: 500;
    white-space: nowrap;
    transition: background-color 0.15s;
  }

  .mark-all:hover {
    background: color-mix(in srgb, var(--_accent) 9%, transparent);
  }

  .mark-all[aria-disabled] {
    background: none;
    color: var(--_muted);
    opacity: 0.75;
    cursor: default;
  }

  /* Too narrow for words. */
  @container (max-width: 372px) {
    .mark-all {
      inline-size: 36px;
      min-block-size: 36px;
      justify-content: center;
      border-radius: 50%;
    }

    .mark-all span {
      position: absolute;
      inline-size: 1px;
      block-size: 1px;
      overflow: hidden;
      clip-path: inset(50%);
    }
  }

  .notice {
    display: flex;
    flex: none;
    align-items: center;
    gap: 10px;
    padding: 9px 18px;
    border-block-end: 1px solid var(--_border);
    background: color-mix(in srgb, var(--_text) 5%, var(--_background));
    color: var(--_muted);
    font-size: 0.9em;
  }

  .notice .icon {
    flex: none;
  }

  .notice[data-kind='warning'] {
    background: color-mix(in srgb, var(--_warning) 9%, var(--_background));
    color: var(--_warning);
  }

  .link {
    flex: none;
    margin-inline-start: auto;
    padding: 4px 0;
    color: inherit;
    font-weight: 600;
    text-decoration: underline;
    text-underline-offset: 3px;
  }

  .content {
    position: relative;
    display: flex;
    flex: 1 1 auto;
    flex-direction: column;
    min-block-size: 0;
  }

  .above {
    position: absolute;
    inset-block-start: 10px;
    inset-inline: 0;
    z-index: 3;
    display: flex;
    align-items: center;
    gap: 5px;
    inline-size: max-content;
    min-block-size: 30px;
    margin-inline: auto;
    padding-inline: 10px 13px;
    border-radius: 99px;
    background: var(--_accent);
    color: light-dark(#fff, #10131b);
    box-shadow: 0 3px 12px rgb(10 15 30 / 25%);
    font-size: 0.86em;
    font-weight: 600;
  }

  .scroller {
    flex: 1 1 auto;
    min-block-size: 0;
    overflow: hidden auto;
    overscroll-behavior: contain;
    scrollbar-width: thin;
    scrollbar-color: color-mix(in srgb, var(--_text) 22%, transparent) transparent;
  }
`
