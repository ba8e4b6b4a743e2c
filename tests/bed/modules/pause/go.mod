module tidegate.test/bed/pause

go 1.24
