"""Operations on states: functions that take states and return new ones."""
