package maillog

import "time"

// AnvilMax tells the largest count of a kind since the last statistics: "max
// connection rate 3/60s for (smtp:192.0.2.1) at Nov 23 21:07:44". unit is in
// seconds; 0 leaves it out.
func (g *Log) AnvilMax(what string, n, unit int, who string, at time.Time) {
	if unit == 0 {
		g.Info("statistics: max %s %d for (%s) at %s", what, n, who, at.Format(time.Stamp))
		return
	}
	g.Info("statistics: max %s %d/%ds for (%s) at %s", what, n, unit, who, at.Format(time.Stamp))
}

// AnvilCache tells how many clients were counted at a time.
func (g *Log) AnvilCache(n int, at time.Time) {
	g.Info("statistics: max cache size %d at %s", n, at.Format(time.Stamp))
}
