package maillog

// VerifyCleanup tells what a cleaning of the verify cache left; path is empty for
// a cache in memory.
func (g *Log) VerifyCleanup(path string, kept, dropped int) {
	g.Info("cache %s full cleanup: retained=%d dropped=%d entries", path, kept, dropped)
}
