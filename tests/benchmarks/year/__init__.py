"""Tests of the year that is lived."""
