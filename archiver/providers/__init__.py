"""Those who make images for money: one file, one way of asking.

`images` speaks the OpenAI Images dialect, `sandbox` draws pictures on this machine without any account. `answers` reads
the JSON that both give, `post` sends what is paid; `picture` and `sandbox_server` belong to the sandbox. Each adapter
satisfies `archiver.core.ports.Provider` and enters by its entry point, so nothing is exported here. This room refuses
to retry, to fetch an image, and to know the catalogue: it asks once and streams what comes back.
"""
