"""Rules in ES|QL, searched by the cluster's ES|QL API."""

from runner.search.cluster.esql.esql_search import EsqlSearch as EsqlSearch
