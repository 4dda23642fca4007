"""The types that columns may have, and the one way to read text as one of them.

A type is a word in contracts, settings and file metadata: boolean, int64, float64, decimal(p,s), date,
time, timestamp (without a zone), timestamp_utc, duration, string, binary, json (text that is JSON),
list<T> and struct<name:T,...>.
"""
