package app

// formats are the formats of the stores in a node's folder that this build writes. A build refuses a folder of which
// any store has a higher one.
func formats() map[string]int {
	return map[string]int{"config": 1, "inbox": 1, "people": 1, "outbox": 1, "vault": 1, "archive": 1, "records": 3, "keys": 1, "api-keys": 1}
}
