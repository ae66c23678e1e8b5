"""Elastic's detection rules, run on a schedule wherever the events are.

    TOML -> Rule -> DueWindow -> SearchRequest -> SearchResult -> [Alert] -> WriteResult -> RuleRun

A module or package imports only what stands above it. `docs/architecture.md` walks through one query and one event.

`errors`, `clock`, `windows`        every exception on one page; the time; spans of time
`rule_run`, `garbage_collection`    what one execution of a rule did; when Python's collector rests, and why
`json_text`                         documents from JSON and to JSON, as untidy as they may be
`file_formats`                      what a file is by its first bytes; records around documents
`messages`                          places in a text, pictures of them, near names
`dates`                             dates as Elasticsearch reads them: formats, rounding, date math
`events`                            what events are and how they are read: fields, columns, files; knows no query
`expressions`                       typed conditions over one event, of no language in particular
`engine`                            which events meet which stage of a plan, and which stages make a match
`eql`                               the language: text to plan, and why a query found what it found
`lucene`, `kql`                     two more languages: text to plan, and to Query DSL
`esql`                              a query in ES|QL read, not evaluated: its indices, and what tells its rows apart
`rules`, `exceptions`               TOML to rules; what is no alert although a rule finds it
`selection`                         which rules are used, and what overrides change in them
`settings`                          flags, environment and `.env` to settings
`cluster`                           the connection to Elasticsearch and Kibana, and the requests to them
`search`                            rules searched over windows: in files, through the EQL API, by fetch and match
`checks`                            what is doubtful in rules that can be run; codes of findings, and what is allowed
`alerts`, `triage`                  a match as alert documents; a stored alert as what an analyst needs
`setup`, `store`                    what is installed in a cluster; where alerts, ledger and leases are kept
`notify`                            alerts told to people and programs: what is owed to whom, and how it is sent
`doctor`                            what works in an installation, and what is missing for which rule
`schedule`, `service`               which windows are due, what is owed; the loop, one execution, replay
`analyst`                           what is asked and decided about stored alerts and rules
`rule_tests`                        tests that rule authors write
`telemetry`                         logs, metrics, health, heartbeat, and the port they are read at
`web`                               the pages of a browser, and the report in one file
`sample_data`                       events to try rules on
`cli`                               arguments, the commands, and what they print
"""

__version__ = "0.1.0"
