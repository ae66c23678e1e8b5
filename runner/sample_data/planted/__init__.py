"""What is planted into a sample: attacks and near misses for the two shipped rules, and incidents for the examples."""
