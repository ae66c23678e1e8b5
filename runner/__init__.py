"""Elastic's detection rules, run on a schedule wherever the events are.

    TOML -> Rule -> (Rule, Window) -> SearchResult -> [Alert] -> WriteResult -> RuleRun

`errors`, `clock`, `windows`  what everything else may use: exceptions, the time, spans of time
`events`, `eql`               events as columns, from NDJSON files; the EQL engine that matches them
`rules`                       rule files to rules, with every problem of theirs
`settings`, `setting_checks`  flags, environment and `.env` to settings
`connection`, `elastic`       how a cluster is reached; its client
`search`                      rules asked over windows: the EQL API, fetch and match, files
`alerts`, `store`             alert documents of matches; where alerts and the ledger are kept
`schedule`, `execution`       which windows are due; one rule over one window, from search to ledger
`report`, `telemetry`, `heartbeat`  what a run did; logs; the sign of life for health checks
`rule_tests`                  tests of rules: sample events and the alerts that are expected of them
`service`, `replay`           the loop; the same over a past span
`cli`, `sample`               the command line; events to try the rules on
"""

__version__ = "0.1.0"
