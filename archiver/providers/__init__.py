"""Those who make images for money: one file, one way of asking.

`images` speaks the OpenAI Images dialect, `chat` that of chat completions, `gemini` Google's own; `tasks` asks now and
polls later; `sandbox` draws pictures on this machine without any account. `account` asks and judges refusals, `post`
sends what is paid; `answers`, `extract` (any shape) and `prose` (any text) find the images in what comes back;
`picture` and `sandbox_server` belong to the sandbox. Each adapter satisfies `archiver.core.ports.Provider` and enters
by its entry point, so nothing is exported here. This room refuses to retry, to fetch an image, and to know the
catalogue: it asks once and streams what comes back.
"""
