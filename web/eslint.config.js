import js from '@eslint/js'

// Everything runs in a page or a worker: their globals, and no others.
const browser = [
  'AbortController',
  'AbortSignal',
  'BroadcastChannel',
  'CustomEvent',
  'Event',
  'EventTarget',
  'HTMLElement',
  'Intl',
  'MessageChannel',
  'SharedWorker',
  'TextDecoder',
  'TextEncoder',
  'URL',
  'URLSearchParams',
  'addEventListener',
  'atob',
  'clearTimeout',
  'crypto',
  'customElements',
  'document',
  'fetch',
  'location',
  'navigator',
  'queueMicrotask',
  'removeEventListener',
  'requestAnimationFrame',
  'setTimeout',
  'structuredClone',
  'window',
]

export default [
  { ignores: ['types/', 'node_modules/'] },
  js.configs.recommended,
  {
    languageOptions: {
      ecmaVersion: 2022,
      globals: Object.fromEntries(browser.map((name) => [name, 'readonly'])),
    },
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-implied-eval': 'error',
      'no-unused-vars': ['error', { ignoreRestSiblings: true, varsIgnorePattern: '^_' }],
      'no-var': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['**/*.test.js'],
    languageOptions: { globals: { Buffer: 'readonly', performance: 'readonly' } },
  },
]
