// How a notification looks, in the list.

/** Only so that editors and prettier know what it is. */
const css = String.raw

export const itemStyles = css`
  /* A notification. */

  .item {
    position: relative;
    display: grid;
    grid-template-columns: auto minmax(0, 1fr) auto;
    gap: 12px;
    padding-block: 13px;
    padding-inline: 18px 8px;
    /* A pile of combining marks stays where it is. */
    overflow: clip;
    contain: content;
  }

  .item + .item {
    border-block-start: 1px solid var(--_border);
  }

  .item[data-unread] {
    background: var(--_unread-background);
  }

  .item:hover {
    background-image: linear-gradient(var(--_hover), var(--_hover));
  }

  .item:focus-visible {
    outline-offset: -3px;
    border-radius: 8px;
  }

  .avatar {
    display: grid;
    place-items: center;
    inline-size: 36px;
    block-size: 36px;
    margin-block-start: 1px;
    border-radius: 11px;
    overflow: hidden;
    background: light-dark(#e4ebff, #232f57);
    color: light-dark(#2346b4, #b9c9ff);
    font-size: 1.05em;
    font-weight: 700;
    line-height: 1;
    user-select: none;
  }

  .avatar[data-tint='1'] {
    background: light-dark(#dcf3e6, #17382a);
    color: light-dark(#13633b, #9be3bd);
  }

  .avatar[data-tint='2'] {
    background: light-dark(#fbedd2, #3d2f11);
    color: light-dark(#7a4a00, #f3cd86);
  }

  .avatar[data-tint='3'] {
    background: light-dark(#fde3e8, #471a27);
    color: light-dark(#9c1a3d, #ffb3c4);
  }

  .avatar[data-tint='4'] {
    background: light-dark(#ede5fd, #33225a);
    color: light-dark(#5a2ab0, #d0bcff);
  }

  .avatar[data-tint='5'] {
    background: light-dark(#d9f1f4, #12393f);
    color: light-dark(#0e5c68, #93dfe9);
  }

  .main {
    min-inline-size: 0;
  }

  .title {
    display: -webkit-box;
    -webkit-box-orient: vertical;
    -webkit-line-clamp: 3;
    line-clamp: 3;
    inline-size: 100%;
    overflow: hidden;
    color: inherit;
    line-height: 1.4;
    text-align: start;
    text-decoration: none;
    /* A button is no place of its own for text in the other direction otherwise. */
    unicode-bidi: isolate;
  }

  .item[data-unread] .title {
    font-weight: 600;
  }

  /* All of the notification is to be pressed, but for its toggle. */
  .title::after {
    content: '';
    position: absolute;
    inset: 0;
    z-index: 1;
  }

  .title:focus-visible {
    outline: none;
  }

  .title:focus-visible::after {
    outline: 2px solid var(--_accent);
    outline-offset: -3px;
    border-radius: 10px;
  }

  a.title:hover {
    text-decoration: underline;
    text-underline-offset: 3px;
  }

  .body {
    display: -webkit-box;
    -webkit-box-orient: vertical;
    -webkit-line-clamp: 2;
    line-clamp: 2;
    margin-block-start: 2px;
    overflow: hidden;
    color: var(--_muted);
    text-align: start;
    white-space: pre-line;
  }

  .item[data-open] :is(.title, .body) {
    -webkit-line-clamp: none;
    line-clamp: none;
    max-block-size: 50vh;
    overflow-y: auto;
  }

  .meta {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 4px 8px;
    margin-block-start: 5px;
    color: var(--_muted);
    font-size: 0.857em;
  }

  .topic,
  .host {
    max-inline-size: 100%;
    padding-inline: 6px;
    border-radius: 5px;
    background: color-mix(in srgb, var(--_text) 5.5%, transparent);
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }

  .toggle {
    position: relative;
    z-index: 2;
    display: grid;
    place-items: center;
    align-self: center;
    inline-size: 36px;
    block-size: 36px;
    border-radius: 50%;
    transition: background-color 0.15s;
  }

  .toggle:hover {
    background: color-mix(in srgb, var(--_text) 8%, transparent);
  }

  .dot {
    inline-size: 10px;
    block-size: 10px;
    border: 1.5px solid color-mix(in srgb, var(--_muted) 75%, transparent);
    border-radius: 50%;
    opacity: 0;
    transition:
      opacity 0.15s,
      transform 0.15s;
  }

  .item:is(:hover, :focus-within) .dot {
    opacity: 1;
  }

  .item[data-unread] .dot {
    border-color: var(--_unread);
    background: var(--_unread);
    opacity: 1;
  }

  .toggle:hover .dot {
    transform: scale(1.2);
  }

  @media (hover: none) {
    .dot {
      opacity: 0.6;
    }
  }

  .more {
    display: block;
    inline-size: 100%;
    padding: 14px;
    border-block-start: 1px solid var(--_border);
    color: color-mix(in srgb, var(--_accent) 90%, var(--_text));
    font-size: 0.93em;
    font-weight: 500;
    text-align: center;
  }

  .more:hover {
    background: var(--_hover);
  }

  .more:focus-visible {
    outline-offset: -4px;
    border-radius: 8px;
  }
`
