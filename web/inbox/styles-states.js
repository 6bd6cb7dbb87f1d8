// How it looks where there is no list: empty, loading, broken. And what moves.

/** Only so that editors and prettier know what it is. */
const css = String.raw

export const stateStyles = css`
  /* Nothing there: empty, loading, broken. */

  .state {
    display: flex;
    flex: 1 1 auto;
    flex-direction: column;
    align-items: center;
    justify-content: center;
    min-block-size: 260px;
    padding: 32px 28px 40px;
    overflow: auto;
    text-align: center;
  }

  .state[data-state='loading'] {
    align-items: stretch;
    justify-content: start;
    padding: 0;
  }

  .picture {
    display: grid;
    place-items: center;
    inline-size: 64px;
    block-size: 64px;
    margin-block-end: 16px;
    border-radius: 50%;
    background: color-mix(in srgb, var(--_accent) 9%, transparent);
    color: var(--_accent);
  }

  .picture .icon {
    inline-size: 30px;
    block-size: 30px;
    stroke-width: 1.5;
  }

  .state:is([data-state='error'], [data-state='signedOut']) .picture {
    background: color-mix(in srgb, var(--_warning) 10%, transparent);
    color: var(--_warning);
  }

  .state-title {
    margin: 0 0 4px;
    font-size: 1.1em;
    font-weight: 600;
  }

  .state-text {
    max-inline-size: 30ch;
    margin: 0;
    color: var(--_muted);
    text-wrap: balance;
  }

  .button {
    min-block-size: 38px;
    margin-block-start: 18px;
    padding-inline: 18px;
    border-radius: 10px;
    background: var(--_accent);
    color: light-dark(#fff, #10131b);
    font-weight: 600;
  }

  .code {
    margin: 14px 0 0;
    color: var(--_muted);
    font:
      0.8em ui-monospace,
      'SF Mono',
      Menlo,
      Consolas,
      monospace;
  }

  .skeleton {
    display: grid;
    grid-template: auto auto / 36px 1fr;
    gap: 8px 12px;
    padding: 16px 18px;
  }

  .skeleton + .skeleton {
    border-block-start: 1px solid var(--_border);
  }

  .skeleton > * {
    block-size: 12px;
    border-radius: 6px;
    background: color-mix(in srgb, var(--_text) 8%, transparent);
    animation: breathe 1.4s ease-in-out infinite alternate;
  }

  .skeleton i {
    grid-row: 1 / 3;
    block-size: 36px;
    border-radius: 11px;
  }

  .skeleton b {
    inline-size: 72%;
  }

  .skeleton u {
    inline-size: 44%;
  }

  /* Motion, where it is welcome. */

  @keyframes breathe {
    to {
      opacity: 0.45;
    }
  }

  @keyframes arrive {
    from {
      background-color: color-mix(in srgb, var(--_accent) 22%, var(--_background));
    }
  }

  @keyframes ring {
    20% {
      transform: rotate(11deg);
    }
    45% {
      transform: rotate(-9deg);
    }
    70% {
      transform: rotate(5deg);
    }
  }

  @keyframes open {
    from {
      opacity: 0;
      transform: translateY(-6px) scale(0.985);
    }
  }

  @media (prefers-reduced-motion: no-preference) {
    .arrived {
      animation: arrive 1.6s ease-out;
    }

    .rings .icon {
      animation: ring 0.55s ease-in-out;
    }

    .panel:popover-open {
      animation: open 0.14s ease-out;
    }
  }

  @media (prefers-reduced-motion: reduce) {
    *,
    *::before {
      animation: none !important;
      transition: none !important;
    }
  }

  @media (forced-colors: active) {
    .badge,
    .item[data-unread] .dot {
      forced-color-adjust: none;
      background: Highlight;
      color: HighlightText;
    }

    .panel[popover] {
      border: 1px solid CanvasText;
    }
  }
`
