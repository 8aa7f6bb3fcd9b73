"""Cron patterns in words."""

from __future__ import annotations

import re

import pytest

from aiorq2.cron import CronPattern

# pattern | its words, without the time zone
WORDS = """
0 12 * * *                 | At 12:00, every day
* * * * *                  | Every minute
*/5 * * * MON-FRI          | Every 5 minutes, Monday to Friday
0 15 10 L * ?              | At 10:15 on the last day of the month
0 0 12 * * ?               | At 12:00, every day
0 * * * *                  | Every hour
30 * * * *                 | Every hour at minute 30
*/15 * * * *               | Every 15 minutes
2-59/5 * * * *             | Every 5 minutes from minute 2
*/7 * * * *                | At minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour
* * * * * *                | Every second
*/10 * * * * *             | Every 10 seconds
5/10 * * * * *             | Every 10 seconds from second 5
30 */5 * * * ?             | Every 5 minutes at second 30
0 0/5 14,18 * * ?          | Every 5 minutes in hours 14 and 18, every day
0 0/5 14 * * ?             | Every 5 minutes from 14:00 to 14:55, every day
*/30 9-17 * * *            | At minutes 0 and 30 of hours 9 to 17, every day
0,20,40 9-17 * * MON-FRI   | Every 20 minutes from 09:00 to 17:40, Monday to Friday
0 */2 * * *                | Every 2 hours
0 1/2 * * *                | Every 2 hours from 01:00
15 */6 * * *               | Every 6 hours from 00:15
0 */12 * * *               | At 00:00 and 12:00, every day
0 9-17 * * *               | Every hour from 09:00 to 17:00, every day
0 9,12,15,18 * * *         | At 09:00, 12:00, 15:00 and 18:00, every day
0 1,2,4,8,16 * * *         | At minute 0 of hours 1, 2, 4, 8 and 16, every day
0 15 10 15W * ?            | At 10:15 on the working day nearest the 15th of the month
0 15 10 ? * FRIL           | At 10:15 on the last Friday of the month
0 15 10 ? * FRI#3          | At 10:15 on the third Friday of the month
0 0 1 * MON                | At 00:00 on the 1st of the month and on every Monday
0 0 1 1 *                  | At 00:00 on the 1st of January
0 0 1 1,7 *                | At 00:00 on the 1st of January and July
0 0 1 6-8 *                | At 00:00 on the 1st of June to August
0 0 * 6-8 *                | At 00:00, every day in June to August
0 0 1,15 * *               | At 00:00 on the 1st and 15th of the month
0 0 1-7 * *                | At 00:00 on the 1st to 7th of the month
0 0 */2 * *                | At 00:00 on every 2nd day from the 1st to the 31st of the month
0 0 1,L * *                | At 00:00 on the 1st and the last day of the month
0 0 * * 0                  | At 00:00, every Sunday
0 0 * * 6,0                | At 00:00, every Saturday and Sunday
0 0 * * MON,WED,FRI        | At 00:00, every Monday, Wednesday and Friday
0 0 * * 5-2                | At 00:00, Monday, Tuesday and Friday to Sunday
0 0 * 1 1-5                | At 00:00, Monday to Friday, in January
0 0 0 1 1 ? 2027-2029      | At 00:00 on the 1st of January, from 2027 to 2029
0 0 0 ? * * 2027           | At 00:00, every day, in 2027
0 * * * * ? 2027           | Every minute, in 2027
* * * JAN *                | Every minute, every day in January
* 2 * * *                  | Every minute from 02:00 to 02:59, every day
* 2,3,9 * * *              | Every minute in hours 2, 3 and 9, every day
*/10 30 1 * * *            | Every 10 seconds from 01:30:00 to 01:30:50, every day
15 30 1 * * *              | At 01:30:15, every day
0,30 30 1 * * *            | At 01:30:00 and 01:30:30, every day
0,30 15 * * * *            | At seconds 0 and 30 of minute 15 of every hour
*/20 5,6 3-9 * * *         | At seconds 0, 20 and 40 of minutes 5 and 6 of hours 3 to 9, every day
30 15 * * * *              | Every hour at minute 15 and second 30
0 0 13 * FRI#2,MON         | At 00:00 on the 13th of the month, on every Monday and on the second Friday of the month
0 0 * * MON,FRI#2          | At 00:00 on every Monday and on the second Friday of the month
0 0 * 2 SUN#1,SUNL         | At 00:00 on the first Sunday and the last Sunday of February
0 0 1-31 * MON             | At 00:00, every day
0 0 29 2 *                 | At 00:00 on the 29th of February
59 23 31 12 *              | At 23:59 on the 31st of December
@hourly                    | Every hour
@weekly                    | At 00:00, every Sunday
0 22-2 * * *               | At minute 0 of hours 0 to 2, 22 and 23, every day
*/15 22-2 * * *            | Every 15 minutes in hours 0 to 2, 22 and 23, every day
0 0 15W,L 3 *              | At 00:00 on the last day and the working day nearest the 15th of March
0 0 1 * MON,FRIL           | At 00:00 on the 1st of the month, on every Monday and on the last Friday of the month
0 0 0 * * ? 2027,2029-2031 | At 00:00, every day, in 2027 and 2029 to 2031
0 0 * * 1-4,6              | At 00:00, Monday to Thursday and Saturday
*/40 * * * *               | At minutes 0 and 40 of every hour
0 0 ? * ?                  | At 00:00, every day
20 4 5-25/4 * *            | At 04:20 on every 4th day from the 5th to the 25th of the month
0 0 1,2 * MON-FRI          | At 00:00 on the 1st and 2nd of the month and on Monday to Friday
0 0 */3 * MON              | At 00:00 on every 3rd day from the 1st to the 31st of the month and on every Monday
0 0 * * MON#1              | At 00:00 on the first Monday of the month
0 0 * 6-8 MON#1,FRI#2      | At 00:00 on the first Monday and the second Friday of June to August
0 0 1 1 MON                | At 00:00 on the 1st of the month and on every Monday, in January
0 0 * JAN,MAR-MAY *        | At 00:00, every day in January and March to May
*/5 9-17 * * MON-FRI       | Every 5 minutes from 09:00 to 17:55, Monday to Friday
*/10 14 * * * *            | At seconds 0, 10, 20, 30, 40 and 50 of minute 14 of every hour
*/15 30 9-17 * * *         | At seconds 0, 15, 30 and 45 of minute 30 of hours 9 to 17, every day
*/15 * 9-17 * * *          | Every 15 seconds from 09:00:00 to 17:59:45, every day
0 0 0 * * ? 2027-2028      | At 00:00, every day, in 2027 and 2028
0 0 0 1 1 ? 2027,2029,2031 | At 00:00 on the 1st of January, in 2027, 2029 and 2031
0 0 11,12,13 * *           | At 00:00 on the 11th to 13th of the month
0 0 21,22,23 * *           | At 00:00 on the 21st to 23rd of the month
5,7,9,11,13 0 * * *        | At minutes 5, 7, 9, 11 and 13 of hour 0, every day
0 0 */2 * 0-6              | At 00:00 on every 2nd day from the 1st to the 31st of the month
0 0 L,15W * *              | At 00:00 on the last day and the working day nearest the 15th of the month
0,1 * * * *                | At minutes 0 and 1 of every hour
*/1 * * * *                | Every minute
0 0-23 * * *               | Every hour
0 0 31 1,3 *               | At 00:00 on the 31st of January and March
* 0-11 * * *               | Every minute from 00:00 to 11:59, every day
0 1-23/2 * 2 FRIL          | Every 2 hours from 01:00 on the last Friday of February
5 4 * * sun                | At 04:05, every Sunday
"""

ROWS = [[cell.strip() for cell in row.split("|")] for row in WORDS.strip().splitlines()]

EVERYWHERE = {
    row[0]
    for row in ROWS
    if re.fullmatch(r"Every (\d+ )?(minute|second)s?( from \w+ \d+| at \w+ \d+)?", row[1])
}
"""Paces that are the same in any zone."""


@pytest.mark.parametrize(("text", "words"), ROWS, ids=[row[0] for row in ROWS])
def test_pattern_is_told_in_words(text: str, words: str) -> None:
    """The words say all that the pattern says, and no more; the zone stands at the end."""
    described = CronPattern.parse(text, timezone="Europe/Berlin").describe()

    assert described == words + ("" if text in EVERYWHERE else ", Europe/Berlin")
