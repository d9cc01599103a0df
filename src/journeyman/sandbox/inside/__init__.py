"""Programs that are sent into the sandbox as text: standard library only, never imported outside.

`worker` answers requests; `answer_calls`, `remote_tests` and `shell_command` are installed in it
for checks that need more than single steps.
"""
