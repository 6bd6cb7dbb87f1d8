// As a site has it: its own pages, and the gateway behind the same origin.
const proxy = { '/api': process.env.GATEWAY }

export default {
  build: { target: 'es2022' },
  server: { proxy, strictPort: true },
  preview: { proxy, strictPort: true },
}
