"""Sample input: realistic Elastic Defend events with planted attacks and near misses, and their ground truth.

`generate` yields the events, `write_sample` writes them to a file; equal arguments give equal bytes.
"""

from runner.sample_data.generate import Sample, SampleEvent, generate
from runner.sample_data.planted.ground_truth import Planted, RuleId
from runner.sample_data.write import SampleSummary, write_sample

__all__ = ["Planted", "RuleId", "Sample", "SampleEvent", "SampleSummary", "generate", "write_sample"]
