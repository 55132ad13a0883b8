"""Every bound of the server in one place. What a client may see of them is published in ServerCapabilities.

Sizes in bytes, times in seconds unless the name says otherwise.
"""

from __future__ import annotations

from typing import Final

# Transport. The first numbers hold for everybody, those with "unproven" before a session is activated on the connection.
CONNECTIONS_MAX: Final = 500
CONNECTIONS_UNPROVEN_PER_IP_MAX: Final = 32
PROVE_WITHIN_S: Final = 10.0  # from TCP accept (or the end of the last session) to an activated session
PROVE_LONGEST_S: Final = 60.0  # ... when the server itself is still at work on a login, as when all clients come back at once
CHUNK_SIZE_MIN: Final = 8192  # Part 6, 7.1.2.3
CHUNK_SIZE_MAX: Final = 65536  # larger ones are not sealed faster, and some clients cannot take them whatever they say
CHUNKS_PER_MESSAGE_MAX: Final = 512
MESSAGE_SIZE_MAX: Final = 4 << 20
MESSAGE_SIZE_UNPROVEN_MAX: Final = 64 << 10
WRITE_HIGH_WATER: Final = 1 << 20  # above this the connection's requests are no longer read
WRITE_BUFFER_MAX: Final = 64 << 20  # above this the client is dropped
WRITE_STALL_S: Final = 10.0  # a client that stays above high water this long is dropped
TURN_S: Final = 0.005  # longest a connection's queued requests run before others get their turn
ASYNC_REQUESTS_PER_CONNECTION_MAX: Final = 32
ENDPOINT_URL_LENGTH_MAX: Final = 4096  # Part 6, 7.1.2.3

# Secure channels.
CHANNEL_LIFETIME_MIN_MS: Final = 30_000
CHANNEL_LIFETIME_MAX_MS: Final = 3_600_000
OPEN_RSA_BLOCKS_MAX: Final = 8
CHANNEL_OVERLAP: Final = 1.25  # an expired token is accepted for another 25 % of its lifetime, Part 4, 5.5.2

# Decoding.
DECODE_AT_ONCE_BYTES_MAX: Final = 16 << 10  # longer requests are decoded by a thread, for they may take long
DECODE_DEPTH_MAX: Final = 100  # Part 6, 5.1.5 asks for at least this much
DECODE_ELEMENTS_MAX: Final = 500_000
ARRAY_DIMENSIONS_MAX: Final = 8
ARRAY_LENGTH_MAX: Final = 100_000
STRING_LENGTH_MAX: Final = 65_536
BYTE_STRING_LENGTH_MAX: Final = 1 << 20

# Sessions.
SESSIONS_MAX: Final = 100
SESSIONS_PER_USER_MAX: Final = 60
SESSIONS_PER_CHANNEL_MAX: Final = 8
SESSION_ACTIVATE_WITHIN_S: Final = 10.0
SESSION_TIMEOUT_MIN_MS: Final = 10_000
SESSION_TIMEOUT_MAX_MS: Final = 3_600_000
SESSION_TIMEOUT_DEFAULT_MS: Final = 120_000
SESSION_NAME_LENGTH_MAX: Final = 256
USER_NAME_LENGTH_MAX: Final = 128
PASSWORD_RSA_BLOCKS_MAX: Final = 4
LOCALE_IDS_MAX: Final = 16
NONCE_LENGTH_MIN: Final = 32
NONCE_LENGTH_MAX: Final = 128
LOGIN_FAILURES_OF_NAME: Final = 3  # in a row; then the next login must wait, and each failure more doubles the wait
LOGIN_FAILURES_OF_ADDRESS: Final = 10
LOGIN_BACKOFF_FIRST_S: Final = 0.5
LOGIN_BACKOFF_MAX_S: Final = 300.0
LOGIN_BACKOFFS_KEPT: Final = 4096
LOGINS_AT_ONCE: Final = 2
LOGINS_WAITING_MAX: Final = 32

# Operations per service call; more is answered with BadTooManyOperations.
PLANNED_BYTES_MAX: Final = 2 << 20  # of the requests whose meaning is remembered
NODES_PER_READ: Final = 10_000
NODES_PER_WRITE: Final = 10_000
NODES_PER_BROWSE: Final = 1_000
NODES_PER_TRANSLATE: Final = 1_000
NODES_PER_REGISTER: Final = 10_000
NODES_PER_METHOD_CALL: Final = 100
NODES_PER_HISTORY_READ: Final = 100
NODES_PER_HISTORY_UPDATE: Final = 100
VALUES_PER_HISTORY_UPDATE: Final = 10_000  # of one node
MONITORED_ITEMS_PER_CALL: Final = 10_000
SUBSCRIPTIONS_PER_CALL: Final = 100
BROWSE_CONTINUATION_POINTS: Final = 20
HISTORY_CONTINUATION_POINTS: Final = 20

# Subscriptions. Intervals in ms.
SUBSCRIPTIONS_MAX: Final = 1_000
SUBSCRIPTIONS_PER_SESSION_MAX: Final = 100
SUBSCRIPTIONS_PER_USER_MAX: Final = 200  # also of sessions that are gone
PUBLISHING_INTERVAL_MAX_MS: Final = 3_600_000
KEEP_ALIVE_COUNT_MAX: Final = 1_000_000
LIFETIME_MS_MIN: Final = 1_000
LIFETIME_MS_MAX: Final = 7_200_000
PUBLISH_REQUESTS_PER_SESSION_MAX: Final = 100
NOTIFICATIONS_PER_PUBLISH_MAX: Final = 10_000
ACKNOWLEDGEMENTS_PER_PUBLISH_MAX: Final = 10_000
STORED_MESSAGES_MAX: Final = 128  # of one subscription, for Republish
STORED_BYTES_MAX: Final = 64 << 20  # of all subscriptions together, in equal parts
STORED_BYTES_PER_SUBSCRIPTION_MAX: Final = 8 << 20
ITEMS_MAX: Final = 500_000
ITEMS_PER_SESSION_MAX: Final = 200_000
SLOW_ITEMS_PER_SESSION_MAX: Final = 20_000  # texts, arrays, properties: what is not one number of the image
SLOW_SAMPLES_PER_TICK: Final = 200  # of one subscription; the rest waits for the next cycle
SLOW_SAMPLING_INTERVAL_MIN_MS: Final = 100  # of values that are computed when read
GROUPS_PER_SUBSCRIPTION_MAX: Final = 64  # combinations of sampling interval, type, timestamps and queue length
SAMPLING_INTERVAL_MAX_MS: Final = 3_600_000
QUEUE_LENGTH_MAX: Final = 1_024
SLOW_QUEUE_LENGTH_MAX: Final = 32
QUEUE_CELLS_PER_SESSION_MAX: Final = 1_000_000
EVENT_ITEMS_PER_SESSION_MAX: Final = 32
EVENT_QUEUE_LENGTH: Final = 100  # when the client leaves it to the server
EVENT_QUEUE_LENGTH_MIN: Final = 10
EVENT_QUEUE_LENGTH_MAX: Final = 10_000
EVENT_QUEUE_BYTES_MAX: Final = 1 << 20  # of one item; what a refresh asks for comes on top
EVENT_SELECT_CLAUSES_MAX: Final = 256
EVENT_WHERE_ELEMENTS_MAX: Final = 256
EVENT_OPERANDS_MAX: Final = 256
EVENT_FILTERS_PER_SESSION_MAX: Final = 4_096  # select clauses and where operands of all its different filters
EVENT_FILTERS_PER_USER_MAX: Final = 16_384  # ... of all sessions of a user
TRIGGER_LINKS_PER_ITEM_MAX: Final = 1_000
