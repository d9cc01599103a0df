"""Programs that are sent into the sandbox as text: standard library alone, never imported outside.

`worker` answers requests; `answer_calls`, `remote_tests` and `shell_command` are installed in it
for the checks that need more than one step at a time.
"""
