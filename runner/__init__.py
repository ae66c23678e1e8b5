"""Elastic's detection rules, run on a schedule wherever the events are.

    TOML -> Rule -> (Rule, Window) -> SearchResult -> [Alert] -> WriteResult -> RuleRun

`errors`, `clock`, `windows`  what everything else may use: exceptions, the time, spans of time
`events`, `eql`               events as columns, from NDJSON files; the EQL engine that matches them
`rules`                       rule files to rules, with every problem of theirs
`settings`, `setting_checks`  flags, environment and `.env` to settings
`connection`, `network`       how a cluster is reached and as whom; proxies, TLS, what fails on the way
`transport`, `elastic`        one request, with retries and errors; the requests that the runner sends
`search`                      rules asked over windows: the EQL API, fetch and match, files
`alerts`, `store`             alert documents of matches; where alerts and the ledger are kept
`kibana`, `kibana_objects`    the requests to Kibana; the data views, search and dashboard that are installed there
`schedule`, `standing`        which windows are due; where every rule stands, and what is owed
`execution`                   one rule over one window, from search to ledger
`report`, `telemetry`, `heartbeat`  what a run did; logs; the sign of life for health checks
`progress`, `ticker`          what the loop knows of its rules; its pace
`service`, `replay`           the loop; the same over a past span
`journal`                     how far an interrupted replay has come
`rule_tests`                  tests of rules: sample events and the alerts that are expected of them
`doctor`                      what works in an installation, and what is missing for which rule
`monitoring`                  what the service shows of itself: metrics, health, the port they are read at
`cli`, `sample`               the command line; events to try the rules on
"""

__version__ = "0.1.0"
